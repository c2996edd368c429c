"""Profile `full` against a hub on loopback: every loader of hub data, and with `-m soak` whole chapters.

The book lies in a temporary copy, whose table of pins names what that hub serves. The data sets have the files and the
columns of the real ones, as their pages on the hub show them, and a few made-up rows.
"""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.unit.hub_world import FIXTURE, ROOT, World, parquet, pins_of
from tests.unit.loopback_hub import Hub
from utils import doctor, profiles
from utils.book import dependencies, runner
from utils.book.chapters import find

CONLL = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
RELATIONS = [f"{name}({order})" for name in ("Cause-Effect", "Component-Whole", "Content-Container", "Entity-Destination",
             "Entity-Origin", "Instrument-Agency", "Member-Collection", "Message-Topic", "Product-Producer")
             for order in ("e1,e2", "e2,e1")] + ["Other"]
SEMEVAL = {"train": [("The <e1>storm</e1> caused the <e2>delay</e2>.", "Cause-Effect(e1,e2)"),
                     ("The <e1>wheel</e1> of the <e2>car</e2> broke.", "Component-Whole(e1,e2)"),
                     ("A <e1>box</e1> and a <e2>car</e2>.", "Other")],
           "test": [("The <e1>delay</e1> was caused by the <e2>storm</e2>.", "Cause-Effect(e2,e1)")]}
REVIEWS = {"train": [("很 好 ， 不 说", 1), ("不 好 ！", 0), ("书 很 好", 1), ("住 的 不 好", 0)],
           "validation": [("书 店 很 好", 1), ("很 不 好", 0)], "test": [("大 学 很 好", 1), ("住 的 很 好", 1), ("不 好", 0)]}
HEADLINES = {"train": [("今天北京的天气很好，人民日报说。", "北京天气很好"), ("新华社说，上海的大学生很好。", "上海大学生很好")],
             "validation": [("上海有书店。", "书店")], "test": [("北京有大学。", "大学"), ("中国有人民。", "人民")]}
OPUS = {split: [(f"I have {count} books.", f"我有 {count} 本书。") for count in range(number)]
        for split, number in (("train", 50), ("validation", 3), ("test", 4))}
# annot_utt, intent, and what chapter 24 makes of them; the test split has an intent and a slot that training lacks.
MASSIVE = {"train": [("[date : 今天] 北京 天气 很好", "weather_query", "今天北京天气很好", ["B-date", "I-date"] + ["O"] * 6),
                     ("说 [place_name : 上海][date : 明天]", "weather_query", "说上海明天",
                      ["O", "B-place_name", "I-place_name", "B-date", "I-date"]),
                     ("有 [business_name : 书店]", "qa_factoid", "有书店", ["O", "B-business_name", "I-business_name"]),
                     ("很好 ！", "general_praise", "很好！", ["O"] * 3)],
           "validation": [("[date : 明天] 很好 ？", "weather_query", "明天很好？", ["B-date", "I-date"] + ["O"] * 3)],
           "test": [("上海 很好", "general_praise", "上海很好", ["O"] * 4),
                    ("住 [house_place : 书店]", "iot_cleaning", "住书店", ["O", "B-house_place", "I-house_place"])]}
INTENTS = ["alarm_set", "general_praise", "iot_cleaning", "qa_factoid", "weather_query"]
NEW_WORDS = {"我": "storm", "你": "delay", "他": "caused", "们": "the", "0": "[unused1]", "1": "[unused2]", "2": "[unused3]",
             "3": "[unused4]"}  # pieces of the tiny vocabulary that give way to these


# --- what the hub serves ------------------------------------------------------------------------------------------------


def conll_rows(count: int) -> list[dict]:
    """`count` sentences; the names differ, so that part of those of a later split are new."""
    rows = []
    for number in range(count):
        tokens = [f"Anna{number % 7}", f"Lee{number % 5}", "of", "Acme", "visits", f"Town{number % 11}", "."]
        rows.append({"id": str(number), "tokens": tokens, "pos_tags": [0] * 7, "chunk_tags": [0] * 7, "ner_tags": [1, 2, 0, 3, 0, 5, 0]})
    return rows


def question(number: int) -> dict:
    """A question of CMRC 2018 on one of the paragraphs, of which each has two."""
    context = f"第{number // 2}段。上海大学在上海，建于19{number // 2 + 10}年；校长是王明。"
    answer = ("上海", "王明")[number % 2]
    return {"id": f"TRAIN_{number}", "context": context, "question": ("大学在哪里？", "校长是谁？")[number % 2],
            "answers": {"text": [answer, answer], "answer_start": [context.index(answer)] * 2}}


def utterance(number: int, split: str, marked: str, intent: str) -> dict:
    """A row of MASSIVE."""
    return {"id": str(number), "locale": "zh-CN", "partition": split, "scenario": intent.split("_")[0], "intent": intent,
            "utt": re.sub(r"\[\w+ : (.*?)\]", r"\1", marked), "annot_utt": marked, "worker_id": "8",
            "slot_method": {"slot": re.findall(r"\[(\w+)", marked), "method": ["translation"] * marked.count("[")},
            "judgments": {"worker_id": ["32"], "intent_score": [1], "language_identification": ["target"]}}


def card(splits) -> bytes:
    """A card as the hub's own conversion to parquet writes it."""
    lines = "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in splits)
    return f"---\nconfigs:\n- config_name: default\n  data_files:\n{lines}---\n# Data\n".encode()


def data_files() -> dict[str, dict[str, bytes]]:
    """Key of `profiles.HUB_DATASETS` -> path -> content."""
    import datasets

    text, number = datasets.Value("string"), datasets.Value("int64")
    tags = {"id": text, "tokens": datasets.Sequence(text), "pos_tags": datasets.Sequence(number),
            "chunk_tags": datasets.Sequence(number), "ner_tags": datasets.Sequence(datasets.ClassLabel(names=CONLL))}
    squad = {"id": text, "context": text, "question": text,
             "answers": {"text": datasets.Sequence(text), "answer_start": datasets.Sequence(datasets.Value("int32"))}}
    relation = {"sentence": text, "relation": datasets.ClassLabel(names=RELATIONS)}
    pair = {"translation": datasets.Translation(languages=["en", "zh"])}
    review = {"text": text, "label": datasets.ClassLabel(names=["negative", "positive"])}
    spoken = {**dict.fromkeys(("id", "locale", "partition", "utt", "annot_utt", "worker_id"), text),
              "scenario": datasets.ClassLabel(names=sorted({intent.split("_")[0] for intent in INTENTS})),
              "intent": datasets.ClassLabel(names=INTENTS),
              "slot_method": {"slot": datasets.Sequence(text), "method": datasets.Sequence(text)},
              "judgments": {"worker_id": datasets.Sequence(text), "intent_score": datasets.Sequence(datasets.Value("int8")),
                            "language_identification": datasets.Sequence(text)}}
    name = "{}-00000-of-00001.parquet".format
    conll, questions = {"train": 60, "validation": 20, "test": 10}, {"train": 20, "validation": 4, "test": 2}
    infos = {"lhoestq--conll2003": {"features": {
        **{key: {"dtype": "string", "id": None, "_type": "Value"} for key in ("id",)},
        "tokens": {"feature": {"dtype": "string", "id": None, "_type": "Value"}, "length": -1, "id": None, "_type": "Sequence"},
        **{key: {"feature": {"dtype": "int64", "id": None, "_type": "Value"}, "length": -1, "id": None, "_type": "Sequence"}
           for key in ("pos_tags", "chunk_tags")},
        "ner_tags": {"feature": {"num_classes": 9, "names": CONLL, "names_file": None, "id": None, "_type": "ClassLabel"},
                     "length": -1, "id": None, "_type": "Sequence"}}}}
    return {
        "conll2003": {"dataset_infos.json": json.dumps(infos).encode(),
                      **{f"data/{name(split)}": parquet(tags, conll_rows(count)) for split, count in conll.items()}},
        "chnsenticorp": {f"data/{name(split)}": parquet(review, [{"text": t, "label": label} for t, label in rows])
                         for split, rows in REVIEWS.items()},
        "cmrc2018": {"README.md": card(questions), **{f"data/{name(split)}": parquet(squad, [question(i) for i in range(count)])
                                                      for split, count in questions.items()}},
        "opus-100": {f"{languages}/{name(split)}": parquet(pair, [{"translation": {"en": en, "zh": zh}} for en, zh in rows])
                     for languages in ("en-zh", "en-zu") for split, rows in OPUS.items()},
        # Of this one only the hub's own conversion, on a branch beside the main one, is parquet; it has these paths.
        "lcsts": {f"default/{split}/0000.parquet": parquet({"summary": text, "text": text}, [{"summary": s, "text": t} for t, s in rows])
                  for split, rows in HEADLINES.items()},
        "semeval2010": {"README.md": card(SEMEVAL), **{f"data/{name(split)}": parquet(
            relation, [{"sentence": s, "relation": RELATIONS.index(r)} for s, r in rows]) for split, rows in SEMEVAL.items()}},
        "massive": {f"{locale}/{name(split)}": parquet(spoken, [utterance(i, split, *row[:2]) for i, row in enumerate(rows)])
                    for locale in ("zh-CN", "de-DE") for split, rows in MASSIVE.items()},
    }


@contextlib.contextmanager
def full_book(folder: pathlib.Path, model: dict[str, bytes]):
    """A copy of the book in `folder`, a hub that serves `model` under every id of a model, and pins to what it serves."""
    shutil.copytree(ROOT / "utils", folder / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "chapters", folder / "chapters", ignore=shutil.ignore_patterns("_site", ".ipynb_checkpoints"))
    for name in ("requirements.txt", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    with Hub() as hub:
        for entry in profiles.HUB_MODELS.values():
            hub.add("model", entry.id, model)
        served = data_files()
        assert served.keys() == profiles.HUB_DATASETS.keys()
        for key, entry in profiles.HUB_DATASETS.items():
            hub.add("dataset", entry.id, served[key])
        (folder / "utils" / "assets" / "hub.json").write_text(json.dumps(pins_of(hub)))
        for (kind, name), files in [(key, commits[hub.branches[key]]) for key, commits in hub.repositories.items()]:
            hub.add(kind, name, {**files, "later": b""})  # nothing may come from the branch
        patient = {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60", "PYTHONPATH": f"{folder}:{ROOT}"}
        yield World(hub, folder / "home", model, "", patient)


def run(world: World, folder: pathlib.Path, *arguments: str, timeout: float, **variables: str) -> str:
    """What Python prints in the copy."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=world.variables(**variables), capture_output=True,
                          text=True, timeout=timeout)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-3000:])
    return done.stdout


# --- the loaders --------------------------------------------------------------------------------------------------------

LOADERS = """
import contextlib, dataclasses, io, json, re, sys, types
import keras, numpy as np, tensorflow as tf
from keras import ops
from tests.unit.notebook_code import definitions, run_cells
from utils import batching, checkpoints, decoding, finetuning, metrics, prediction, profiles, training
from utils.corpora import hub
from utils.encoder import dense

found, trains = {}, "train" in sys.argv  # without it, what chapters 19, 20 and 24 would train is only looked at
profile = dataclasses.replace(profiles.get("full"), jit_compile=False)
tokenizer = checkpoints.load_tokenizer(profile.checkpoint)  # without the revision, as in chapters 18 and 24

ner = run_cells("3-code/13-ner", "take-columns", PROFILE="full", DATASET="conll2003")
found["13"] = {name: ner[name] for name in ("labels", "train", "dev", "test")}

shared = dict(np=np, keras=keras, ops=ops, batching=batching, checkpoints=checkpoints, training=training, profiles=profiles,
              profile=profile, tokenizer=tokenizer)
english = definitions("3-code/13-ner", dict(
    shared, test=ner["test"], transitions=None, hub=hub, cased=profiles.HUB_MODELS["bert-base-cased"], decoding=decoding,
    metrics=metrics, prediction=prediction))["english"]
with contextlib.redirect_stdout(io.StringIO()) as printed:
    english()
found["13"]["printed"] = printed.getvalue()
reviews = definitions("4-applications/19-classification", dict(
    shared, finetuning=finetuning, epochs=1, pieces=16, mini=False, tested=None, SHUFFLE_LABELS=False,
    prediction=prediction if trains else types.SimpleNamespace(predict_texts=lambda model, windows: np.zeros(len(windows), int))))
seen = found["19"] = {}
def fit(train, dev, classes, *arguments, fit=reviews["fit"], **options):
    seen.update(train=sorted(zip(train[0], train[1].tolist())), dev=sorted(zip(dev[0], dev[1].tolist())))
    return fit(train, dev, classes, *arguments, **options) if trains else (None, 0.0)
reviews["fit"] = fit
seen["accuracy"] = float(reviews["run_public"]())

relations = definitions("4-applications/20-relations", dict(shared, re=re, tf=tf, dense=dense, LONGEST=128), ("MARKERS", "RelationModel"))
def fit(model, encoded, targets, *arguments, fit=relations["fit"]):
    windows, starts = encoded
    pieces = [tokenizer.convert_ids_to_tokens(ids) for ids in windows.input_ids]
    found["20"] = dict(pieces=pieces, opened=[[row[i] for i in place] for row, place in zip(pieces, starts)],
                       targets=targets.argmax(axis=-1).tolist(), width=targets.shape[1])
    if trains:
        fit(model, encoded, targets, *arguments)
relations["fit"] = fit
if not trains:
    relations["scores_of"] = lambda model, encoded: np.eye(19)[[1] * len(encoded[0])]
score = relations["run_semeval"](epochs=1)
found["20"]["score"] = float(score)

questions = run_cells("4-applications/21-question-answering", "load-questions", PROFILE="full", DATASET="cmrc2018")
found["21"] = {name: questions[name] for name in ("train", "dev", "test")}
pairs = run_cells("4-applications/22-translation", "pairs", PROFILE="full")
found["22"] = {name: [[p.source, p.target] for p in pairs[name]] for name in ("train", "dev", "test")}
items = run_cells("4-applications/23-summarization", "items", PROFILE="full")
found["23"] = {name: [list(item) for item in items[name]] for name in ("train", "dev", "test")}

massive = definitions("4-applications/24-dialogue", dict(shared, re=re, tf=tf, decoding=decoding, metrics=metrics), ("Commander",))
heard = found["24"] = {}
def fit(start, seed, train, dev, fit=massive["fit"], **options):
    heard.update(train=train, dev=dev)
    if not trains:
        return None, None
    model, history = fit(start, seed, train, dev, **options)
    heard.update(labels=list(model.labels), slots=list(model.slot_labels), evaluations=len(history.evaluations))
    return model, history
massive["fit"] = fit
if not trains:
    massive["predict"] = lambda model, texts: [("general_praise", ["O"] * len(text), 1.0) for text in texts]
heard["scores"] = massive["run_massive"](epochs=2)
print("\\nFOUND" + json.dumps(found, ensure_ascii=False))
"""


def tiny_model() -> dict[str, bytes]:
    """The fixture's encoder of two small layers; a few pieces of its vocabulary are English, or the markers of chapter 20."""
    files = {name: (FIXTURE.parent / "backbone" / name).read_bytes()
             for name in ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors")}
    pieces = [NEW_WORDS.get(piece, piece) for piece in files["vocab.txt"].decode().splitlines()]
    return files | {"vocab.txt": ("\n".join(pieces) + "\n").encode()}


def load_all(folder: pathlib.Path, *arguments: str) -> dict:
    """What the loaders of the chapters bring, by chapter."""
    with full_book(folder, tiny_model()) as world:
        out = run(world, folder, "-c", LOADERS, *arguments, timeout=600)
        assert not world.hub.asked("/main|later|en-zu|de-DE"), "only the pinned commits, and only the languages asked for"
    return json.loads(out.splitlines()[-1].removeprefix("FOUND"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_all(tmp_path_factory.mktemp("book"))


def test_chapter_13_reads_conll_2003_with_the_labels_of_its_columns(loaded):
    found = loaded["13"]
    assert found["labels"] == CONLL
    assert [len(found[name][0]) for name in ("train", "dev", "test")] == [60, 20, 10]
    for sentences, tags in (found[name] for name in ("train", "dev", "test")):
        assert sentences == [row["tokens"] for row in conll_rows(len(sentences))]
        assert tags == [["B-PER", "I-PER", "O", "B-ORG", "O", "B-LOC", "O"]] * len(sentences)


def test_chapter_19_trains_on_all_public_reviews_and_scores_the_test_split(loaded):
    found = loaded["19"]
    assert found["train"] == sorted(map(list, REVIEWS["train"])) and found["dev"] == sorted(map(list, REVIEWS["validation"]))
    assert found["accuracy"] == pytest.approx(1 / 3)  # the stand-in for the trained model calls every text negative


def test_chapter_20_marks_both_nominals_of_semeval_and_names_all_nineteen_relations(loaded):
    found = loaded["20"]
    assert found["pieces"][0] == ["[CLS]", "the", "[unused1]", "storm", "[unused2]", "caused", "the", "[unused3]", "delay",
                                  "[unused4]", "[UNK]", "[SEP]"]
    assert len(found["pieces"]) == 3 and found["opened"] == [["[unused1]", "[unused3]"]] * 3
    assert found["targets"] == [RELATIONS.index(relation) for _, relation in SEMEVAL["train"]] and found["width"] == 19
    assert found["score"] == 1.0  # the stand-in for the trained model names the relation of the one test sentence


def test_chapter_21_takes_its_validation_questions_from_the_end_of_cmrc_and_never_splits_a_paragraph(loaded):
    found = loaded["21"]
    assert [len(found[name]) for name in ("train", "dev", "test")] == [18, 2, 4]
    rows = [question(number) for number in range(20)]
    for got, wanted in zip(found["train"] + found["dev"], rows, strict=True):
        assert (got["question"], got["context"]) == (wanted["question"], wanted["context"])
        assert got["answers"] == wanted["answers"]["text"]
        assert all(got["context"][start:end] for start, end in got["candidates"]) and len(got["candidates"]) == 4
    assert [row["paragraph"] for row in found["train"]] == [number // 2 for number in range(18)]


def test_chapter_22_reads_the_english_and_the_chinese_side_of_the_asked_pair(loaded):
    assert {name: [tuple(pair) for pair in loaded["22"][name]] for name in ("train", "dev", "test")} == {
        "train": OPUS["train"], "dev": OPUS["validation"], "test": OPUS["test"]}


def test_chapter_23_reads_text_as_the_lead_and_summary_as_the_headline(loaded):
    for name, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
        assert [tuple(item) for item in loaded["23"][name]] == [(*pair, []) for pair in HEADLINES[split]]


def test_chapter_24_reads_the_chinese_part_of_massive_and_scores_its_test_split(loaded):
    found = loaded["24"]
    for name, split in (("train", "train"), ("dev", "validation")):
        assert found[name] == [[text, intent, tags] for _, intent, text, tags in MASSIVE[split]]
    # The stand-in for the trained model says the same of both sentences, and finds no slot.
    assert found["scores"] == {"标签正确率": 0.5, "槽位 F1": 0.0, "整句全对": 0.5}


@pytest.mark.soak
def test_chapters_19_20_and_24_train_on_the_public_data(tmp_path):
    found = load_all(tmp_path, "train")
    assert any(found["19"]["accuracy"] == pytest.approx(right / 3) for right in range(4))
    assert found["20"]["score"] in (0.0, 1.0)
    assert found["24"]["labels"] == ["general_praise", "qa_factoid", "weather_query"] and found["24"]["evaluations"] == 2
    assert found["24"]["slots"] == ["O"] + [f"{b}-{kind}" for b in "BI" for kind in ("business_name", "date", "place_name")]
    assert found["24"]["scores"]["整句全对"] in (0.0, 0.5)  # what training lacks is wrong, and no more than that


# --- whole chapters -----------------------------------------------------------------------------------------------------

SHIPPED = ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The copy of the book with a hub that serves the shipped checkpoint.

    A rate for BERT-base would teach this small model nothing, and what chapters assert of a trained one would not hold: in
    the copy, `full` has the rate of `mini`.
    """
    folder = tmp_path_factory.mktemp("book")
    with full_book(folder, {name: (profiles.CHECKPOINT / name).read_bytes() for name in SHIPPED}) as world:
        table = folder / "utils" / "profiles.py"
        text, changed = re.subn(r"\b3e-5\b", "1e-3", table.read_text(encoding="utf-8"))
        assert changed == 1
        table.write_text(text, encoding="utf-8")
        yield world, folder


def printed(notebook: pathlib.Path) -> str:
    """All text that the cells of an executed notebook have printed or shown."""
    outputs = [out for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] for out in cell.get("outputs", ())]
    return "\n".join("".join(out.get("text", out.get("data", {}).get("text/plain", ""))) for out in outputs)


def test_what_a_profile_changes_in_a_chapter_is_a_parameter_of_it_and_gives_way_to_the_readers():
    chapter = find(["21"], profiles.ROOT)[0]
    full = runner.parameters_of(chapter, runner.Settings(profile="full"))
    assert full == {"PROFILE": "full", "DATASET": "cmrc2018"}
    assert runner.parameters_of(chapter, runner.Settings()) == {"PROFILE": "mini"}
    own = runner.Settings(profile="full", overrides=(("DATASET", "people_daily"),))
    assert runner.parameters_of(chapter, own)["DATASET"] == "people_daily"
    for number, changed in profiles.CHAPTER_PARAMETERS["full"].items():
        known = dependencies.parameters(dependencies.code_cells(dependencies.read_notebook(find([str(number)], profiles.ROOT)[0].path)))
        assert changed.keys() <= known.keys()


@pytest.mark.soak
@pytest.mark.parametrize("chapter, options, lines", [
    ("12-environment", {}, ["档位： full"]),
    ("13-ner", {"DATASET": "conll2003"}, ["档位 full；编码器 bert-base-cased", "训练：60 句"]),
    ("21-question-answering", {}, ["档位 full"]),
    ("14-errata", {"LIVE_SENTENCES": "20"}, ["档位： full", "20 句、3 轮"]),
    ("16-evaluation", {"LIVE_SIZE": "160", "NEWS_SIZE": "60"}, ["档位： full", "微调的编码器", "两种算法的 logits 相差"]),
    # Enough passages for a model whose answers tell a wrong vocabulary from the right one.
    ("17-deployment", {"PASSAGES": "20"}, ["档位 full", "训练 400 段", "v3：对照题不符，已退回", "已停止"]),
    # The recorded rows are those of `mini`; with the length of this model's messages they would foretell nothing.
    ("18-distribution", {}, ["档位 full", "预测 从略", "临时文件夹已删除： True"]),
])
def test_a_chapter_runs_with_full_from_its_first_cell_to_its_last_on_what_is_pinned(shipped, chapter, options, lines):
    world, folder = shipped
    begin = len(world.hub.requests)
    given = [word for name, value in options.items() for word in ("-p", f"{name}={value}")]
    run(world, folder, "-m", "utils.book", "run", chapter, "--profile", "full", *given, timeout=7200)
    (notebook,) = (folder / "_build" / "cache" / "full").glob(f"*/{chapter}/*.ipynb")
    text = printed(notebook)
    for line in lines:
        assert line in text
    asked = [request for request in world.hub.requests[begin:] if request != f"HEAD /{doctor.HUB_FILE}"]  # chapter 12: is it there?
    assert not [request for request in asked if re.search("/main|later", request)], "only the pinned commits"
