"""Chapter 13 on a reader's own CoNLL files and own BERT folder, as its last section and the README say."""

import json
import subprocess
import sys

import pytest

DISHES, SHOPS = ("豆腐", "面条", "包子", "饺子"), ("北大街", "南门", "书店", "大学")


def conll(start, count):
    """`count` sentences of our own with labels that no chapter knows; the combinations differ."""
    rows = []
    for number in range(start, start + count):
        dish, shop = DISHES[number % 4], SHOPS[number // 4 % 4]
        parts = [(shop, "店"), ("的", None), (dish, "菜"), (("很", "不")[number % 2], None), ("好", None), ("。", None)]
        for text, kind in parts:
            tags = ["O"] * len(text) if kind is None else [f"B-{kind}", *[f"I-{kind}"] * (len(text) - 1)]
            rows += [f"{character} {tag}" for character, tag in zip(text, tags, strict=True)]
        rows.append("")
    return "\n".join(rows) + "\n"


@pytest.mark.soak
def test_chapter_13_trains_on_the_readers_own_files_and_model_and_holds_them_to_no_band(root, tmp_path):
    data = tmp_path / "我的 数据"
    data.mkdir()
    for name, start, count in (("train", 0, 60), ("dev", 60, 12), ("test", 72, 12)):
        (data / f"{name}.txt").write_text(conll(start, count), encoding="utf-8")
    model = root / "tests" / "fixtures" / "bert" / "token_classifier"
    command = [sys.executable, "-m", "utils.book", "run", "13", "-p", f"DATA_DIR={data}", "-p", f"CHECKPOINT={model}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ner_f1" in done.stdout and "超出区间" not in done.stdout and "不比区间" in done.stdout
    newest = max((root / "_build" / "cache" / "mini" / "3-code" / "13-ner").glob("*.ipynb"), key=lambda path: path.stat().st_mtime)
    printed = json.dumps(json.loads(newest.read_text(encoding="utf-8")), ensure_ascii=False)
    assert "菜" in printed and "店" in printed

    (data / "train.txt").write_text(conll(0, 60).replace("O\n", "O O\n", 1), encoding="utf-8")  # a third column in one line
    broken = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert broken.returncode == 1 and "缓存 3-code/13-ner" not in broken.stdout
    assert "train.txt" in broken.stdout + broken.stderr and "Traceback" not in broken.stderr
