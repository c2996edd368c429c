"""The printed line that says whether a method beats its rival."""

import numpy as np
import pytest
from scipy import stats

from utils.verdicts import paired, verdict, verdict_on_best


@pytest.mark.parametrize("values, word, gap", [
    ([0.8], "没有赢过", "+0.0"),
    ([0.7, 0.9, 0.7], "没有赢过", "-3.3"),
    ([0.9], "这一次高过", "+10.0"),  # one run has no spread, whatever its lead
    ([0.81, 0.79, 0.83], "没有明显赢过", "+1.0"),  # half a deviation
    ([0.825, 0.835, 0.845], "赢过", "+3.5"),  # 3.5 deviations
])
def test_a_lead_counts_from_two_deviations_of_the_seeds(values, word, gap):
    assert verdict("甲", values, "乙", 0.8) == f"结论：甲（{len(values)} 次运行）{word}“乙”，差 {gap}"


def test_scores_that_are_no_shares_keep_their_unit():
    assert verdict("甲", [59.0], "乙", 58.0, scale=1).endswith("差 +1.0")


def test_each_kind_of_score_has_its_own_best_rival():
    rivals = {"规则": {"f1": 0.8, "ap": 0.1}, "全答有": {"f1": 0.5, "ap": 0.3}}
    first, second = verdict_on_best("编码器", [{"f1": 0.9, "ap": 0.2}], rivals, {"f1": "F1", "ap": "AP"}).splitlines()
    assert first == "结论：编码器，F1（1 次运行）这一次高过“规则”，差 +10.0"
    assert second == "结论：编码器，AP（1 次运行）没有赢过“全答有”，差 -10.0"


def test_methods_paired_by_seed_differ_from_two_standard_errors_of_the_gaps():
    ours, theirs = np.array([0.80, 0.82, 0.84]), np.array([0.70, 0.73, 0.73])
    mean, error, word = paired(ours, theirs)
    assert mean == pytest.approx(0.1) and error == pytest.approx(stats.sem(ours - theirs)) and word == "更高"
    assert paired(theirs, ours) == (-mean, error, "更低")
    assert paired([0.8, 0.7, 0.9], [0.7, 0.8, 0.9])[2] == "分不出" == paired(ours, ours)[2]
