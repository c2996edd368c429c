"""The parts of the benchmarks that are no measurement: counted operations, ratios, agreement of labels."""

import numpy as np
import pytest

from tests.benchmarks import book, common, ner_training, prediction
from utils.encoder import Encoder, EncoderConfig


def test_counted_operations_are_two_for_each_weight_and_piece_and_two_for_each_pair_and_number():
    config = EncoderConfig(20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)
    kernels = sum(int(np.prod(v.shape)) for v in Encoder(config).trainable_variables if v.path.endswith("kernel"))
    lengths = np.array([5, 2, 9])
    forward = 0
    for length in lengths:  # of one text: every kernel at every piece, scores and mixture of every pair, the head
        forward += 2 * kernels * length + 3 * (2 * length * length * 8) * 2 + 2 * length * 8 * 7
    assert ner_training.flops(config, lengths, classes=7) == pytest.approx(3 * forward)


def test_ratios_are_speeds_of_the_book_over_the_others_and_skip_who_failed():
    rows = {"book": {"sentences_per_second": 30.0, "seconds_until_equal": 5.0}, "article": {"error": "exit status 1"},
            "keras": {"sentences_per_second": 10.0, "seconds_until_equal": 20.0}}
    assert ner_training.ratios(rows) == {"keras": 3.0, "keras until equal": 4.0}
    rows["book"] = {"error": "exit status 1"}
    assert ner_training.ratios(rows) == {}
    fast = {"sentences_per_second": 8.0, "p50_ms": 2.0, "p95_ms": 3.0}
    slow = {"sentences_per_second": 4.0, "p50_ms": 8.0, "p95_ms": 9.0}
    found = prediction.ratios({"book": fast, "pipeline": slow, "litert float": slow})
    assert found == {"book / pipeline, sentences per second": 2.0, "book / pipeline, p50 of one": 4.0, "book / pipeline, p95 of one": 3.0}


def test_who_never_reached_the_score_is_named_with_the_best_it_came_to():
    epochs = [{"f1": 0.1}, {"f1": 0.7}, {"f1": 0.6}]
    rows = {"book": {"seconds_until_equal": 5.0, "epochs": epochs}, "keras": {"seconds_until_equal": None, "epochs": epochs},
            "article": {"error": "exit status 1"}}
    assert ner_training.not_reached(rows) == {"keras": 0.7, "article": None}


def test_agreement_counts_characters_and_knows_which_sentences_were_left_out():
    reference = [[0, 1, 2], [3], [4, 5]]
    assert prediction.agreement(reference, {"tags": [[0, 1, 9], [3], [4, 5]]}) == pytest.approx(5 / 6)
    assert prediction.agreement(reference, {"tags": [[4, 9]], "of": [2]}) == 0.5


def test_a_failed_contender_is_an_error_and_not_a_number():
    assert common.contend("tests.benchmarks.nothing", "x") == {"error": "exit status 1"}


def test_the_chapters_that_a_run_executed_are_read_from_its_table():
    from utils.book import report
    from utils.book.results import ChapterResult

    rows = [ChapterResult(chapter=name, source=None, executed=None, status=status, seconds=seconds, peak_memory_mb=None)
            for name, status, seconds in (("3-code/13-ner", "ok", 131.04), ("index", "ok", 7.0), ("3-code/14-errata", "cached", 53.0))]
    printed = f"[1/3] 完成 3-code/13-ner\n{report.summary(rows)}\n"
    assert book.executed(printed) == {"3-code/13-ner": 131.0, "index": 7.0}


def test_the_tiny_book_keeps_the_rules_of_the_book_and_an_edit_changes_code_only(tmp_path):
    from utils.book import lint
    from utils.book.chapters import find

    paths = book.make_book(tmp_path, 2, 0.5)
    assert [chapter.path for chapter in find([], tmp_path)] == paths
    assert lint.check(paths, tmp_path) == []
    before = book.edit(paths[0])
    assert paths[0].read_text(encoding="utf-8") != before and lint.check(paths, tmp_path) == []
