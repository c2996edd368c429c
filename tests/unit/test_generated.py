"""The pages that a build writes: every exercise once and linked, every result beside its band."""

import json
import re
import shutil
from pathlib import Path

from utils import profiles
from utils.book import generated, speed
from utils.book.results import ChapterResult


def result(**changes):
    values = {"chapter": "3-code/13-ner", "source": Path("a.ipynb"), "executed": Path("b.ipynb"), "status": "ok",
              "seconds": 61.25, "peak_memory_mb": 1536.0, "run_at": "2026-11-24T10:00:00+00:00",
              "results": {"f1": {"value": 0.61, "band": [0.5, 0.7]}}}
    return ChapterResult(**values | changes)


def test_every_exercise_of_the_book_is_listed_once_with_a_link_that_exists():
    found = generated.exercises(profiles.ROOT)
    assert len({(one.chapter, one.index) for one in found}) == len(found)
    for chapter in {one.chapter for one in found}:
        text = next(profiles.ROOT.glob(f"chapters/*/{chapter:02d}-*.ipynb")).read_text(encoding="utf-8")
        of_chapter = [one for one in found if one.chapter == chapter]
        assert [one.index for one in of_chapter] == list(range(1, len(of_chapter) + 1))
        assert len(of_chapter) == len(re.findall(r"### 练习 \d+：", text))
        assert all(one.label and f"({one.label})=" in text and one.lines > 0 for one in of_chapter), chapter


def test_difficulty_grows_with_the_solution():
    stars = [generated.Exercise(1, 1, "题", "x", lines).stars for lines in (1, 3, 4, 5, 6)]
    assert stars == ["★", "★", "★★", "★★", "★★★"]
    assert generated._code_lines("#@title 练习 1 的答案\ndef f(x):\n    # 为何\n    return x\n\nassert check(f)") == 2


def test_the_state_of_a_run_shows_values_bands_failures_and_stale_records():
    table = generated.status_table(profiles.ROOT, [
        result(), result(chapter="x/09-b", results={"g": {"value": 2.0, "band": [0.0, 1.0]}}),
        result(chapter="x/10-c", executed=None), result(chapter="x/11-d", stale=["t：尚无记录"], results={})])
    rows = table.splitlines()[2:6]
    assert "0.61 [0.5, 0.7]" in rows[0] and "超出" not in rows[0] and "1.5" in rows[0] and "61.2" in rows[0]
    assert "**超出**" in rows[1] and "**运行失败**" in rows[2] and "1 张缺失或过期" in rows[3]
    assert "1 个失败，1 个有记录缺失或过期" in table
    assert len({row.count("|") for row in table.splitlines()[:6]}) == 1
    named = generated.status_table(profiles.ROOT, [result(chapter="index"), result(chapter="appendix/C-errata")]).splitlines()[2:4]
    assert "神经网络" in named[0] and named[1].startswith("| 附录 C ")


def test_versions_hardware_and_the_names_of_stale_records_are_shown():
    facts = {"versions": {"python": "3.13.1", "keras": "3.11"},
             "hardware": {"processor": "Xeon", "cores": 2, "memory_gib": 23.0, "device": "CPU"}}
    table = generated.status_table(profiles.ROOT, [
        result(**facts), result(chapter="x/09-b", **facts), result(chapter="x/10-c", stale=["t：尚无记录", "u：代码已改", "u：数据已改"])])
    first, empty, header = table.splitlines()[:3]
    assert "2 个笔记本" in first and "Xeon（2 核，内存 23.0 GiB），设备 CPU" in first and "python 3.13.1，keras 3.11" in first
    assert empty == "" and header.startswith("| 章")
    assert "2 张缺失或过期：`t`、`u` |" in table


def test_markers_are_filled_and_unknown_ones_stay():
    text = generated.fill("前\n\n（这张表在建站时写入：`status`）\n\n后\n（这张表在建站时写入：`nothing`）\n", profiles.ROOT, [])
    assert text == "前\n\n还没有运行结果。\n\n后\n（这张表在建站时写入：`nothing`）\n"


def test_the_speed_that_was_kept_is_shown_with_its_ratios_and_date(tmp_path):
    assert generated.speed_table(tmp_path, []) == "还没有测速结果。"
    folder = tmp_path / "chapters" / "_recorded" / "speed"
    folder.mkdir(parents=True)
    (folder / "ner_training.json").write_text(json.dumps({"date": "2026-11-27T01:00:00+00:00", "cores": 2, "sizes": {"4x256": {
        "contenders": {"book": {"f1": 0.5, "share_of_peak": 0.374, "padding_share": 0.08, "seconds_per_batch": {
            "forward": 0.3, "with_gradients": 0.8, "with_update": 1.0, "making_one_batch": 1e-4}}, "keras": {"f1": 0.25}},
        "ratios": {"keras": 1.976, "keras until equal": 4.5}}}}))
    (folder / "book.json").write_text(json.dumps({"date": "2026-11-25T01:00:00+00:00", "cores": 2, "seconds_per_chapter": 1.0, "growth": {
        "from_nothing": {"seconds_per_chapter": 0.938, "fixed_seconds": 9.07}}, "real": {"from_nothing": 816.2, "executed": 27, "changed_chapter": 24.4}}))
    (folder / "prediction.json").write_text(json.dumps({"date": "2026-11-26T01:00:00+00:00", "cores": 4, "ratios": {
        "book / pipeline, batches, p50 of one": 1.36, "litert int8 / litert float, sentences per second": 1.7}}))
    table = generated.speed_table(tmp_path, [])
    assert "KerasHub 与 `fit` 的默认值 | 1.98 |" in table and "0.50" not in table and "| 37% |" in table
    assert "本书 ÷ transformers 的 pipeline（成批），单句的快慢（中位数） | 1.36 |" in table
    assert "达到同样的实体 F1，KerasHub 与 `fit` 的默认值的用时 ÷ 本书 | 4.50 |" in table
    assert "前向、反向、更新各占 | 30%、50%、20% |" in table and "填充所占 | 8% |" in table
    assert "从零开始 | 816 秒 |" in table and "执行那一章 | 24 秒 |" in table and "27" not in table.replace("2026-11-27", "")
    assert "每章等 1 秒：从零开始，固定用时与每多一章 | 9.1 + 0.94 秒 |" in table
    assert "LiteRT int8 ÷ LiteRT 单精度，每秒句数 | 1.70 |" in table
    assert "2026-11-27，2 核" in table and "2026-11-26，4 核" in table
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1


def speed_of(tmp_path, **size):
    """The table of a kept benchmark of one size."""
    file = tmp_path / "chapters" / "_recorded" / "speed" / "ner_training.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"date": "2026-11-27T01:00:00+00:00", "cores": 2, "sizes": {"4x256": size}}))
    return generated.speed_table(tmp_path, [])


def test_aims_that_were_missed_or_not_measured_are_named_and_those_that_were_reached_are_not(tmp_path):
    reached = speed_of(tmp_path, contenders={"book": {"share_of_peak": 0.6}}, ratios={"article": 4.0, "pytorch": 1.5, "keras": 2.0})
    assert "4 倍、" in reached and "都达到了" in reached and "未达到" not in reached
    missed = speed_of(tmp_path, contenders={"book": {"share_of_peak": 0.374}}, ratios={"article": 4.1, "keras": 1.98})
    listed = missed.rpartition("**未达到**")[2]
    assert "文章" not in listed and "都达到了" not in missed
    for line in ("4x256，PyTorch 的循环的 1.5 倍（没有量出）", "4x256，Keras 的默认做法的 2 倍（量得 1.98 倍）", "4x256，峰值的 60%（量得 37.4%）"):
        assert line in listed


def test_who_never_reached_the_score_has_a_row_of_its_own(tmp_path):
    table = speed_of(tmp_path, contenders={"book": {"error": "exit status 1"}, "keras": {"error": "exit status 1"}}, ratios={},
                     until_equal=0.85, not_reached={"pytorch": 0.8125, "keras": None})
    assert "未达到实体 F1 0.85，PyTorch，transformers 示例的默认值 | 最好 0.812 |" in table
    assert "未达到实体 F1 0.85，KerasHub 与 `fit` 的默认值 | 运行失败 |" in table


def test_a_speed_whose_code_has_changed_since_is_named_with_the_file(tmp_path):
    file = tmp_path / "chapters" / "_recorded" / "speed" / "prediction.json"
    file.parent.mkdir(parents=True)
    for folder in ("utils", "tests/benchmarks"):
        shutil.copytree(profiles.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("assets", "__pycache__", ".venv"))
    code = speed.code_behind("prediction", tmp_path)
    assert "utils/prediction.py" in code and "utils/profiles.py" not in code and speed.code_behind("book", tmp_path) == {}
    kept = {"date": "2026-11-27T01:00:00+00:00", "cores": 2, "ratios": {}}

    def said(**more):
        file.write_text(json.dumps(kept | more))
        return generated.speed_table(tmp_path, [])

    assert "测过以后代码改了" not in said(code=code) and "无从知道" in said()
    changed = tmp_path / "utils" / "decoding.py"
    changed.write_text("# a remark\n" + changed.read_text())
    assert "测过以后代码改了" not in said(code=code)
    changed.write_text(changed.read_text() + "\nMORE = 1\n")
    assert "**`prediction` 测过以后代码改了**：utils/decoding.py。" in said(code=code)


def test_every_kept_speed_has_a_name_for_the_reader():
    shown = generated.speed_table(profiles.ROOT, [])
    assert not re.search(r"sentences per second|of one|nothing_changed|article|pytorch", shown)
