"""Commands to a home in Chinese and English: intent and slots, from the sentence templates of home-assistant-intents.

The package (Apache-2.0, Home Assistant's community) holds templates such as `<turn_on>{area}[的]<light>`; the package
hassil reads them. A template stands wholly in one split, and a validation or test sentence that a training template
could have made as well is dropped: recognising it again would tell nothing. The package names no
rooms and devices; those are ours (`home_words`), and a quarter of them never occurs in training.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from pathlib import Path

from datasets import ClassLabel, DatasetDict, DatasetInfo, Features, List, Value

from ..errors import ConfigError, DataError
from .home_words import NAMES, WORDS
from .tables import SPLITS, dataset, label_names

PACKAGE, VERSION = "home_assistant_intents", "2026.10.27"
SHA256 = {
    "zh-CN": "aaf4fcca09b3878b56652396275ea69e0d0f44508e06378434538a7a2c0c7054",
    "en": "0b9d606a216b1712409a3d822a8edfb9ff4458e51e421792882ea24e0ce1d456",
}
HELD_OUT = 0.15  # share of an intent's templates in validation, and in test; at least one of each
KNOWN_WORDS = 0.75  # share of our words that training may use

Piece = tuple[str, str | None]  # text, and the slot that it fills


@dataclass(frozen=True)
class Template:
    """One sentence template. `id` is intent, group and place in it; `domain` the kind of device that its group fixes."""

    id: str
    intent: str
    domain: str
    expression: object  # hassil's tree
    rules: dict
    lists: dict
    name_domains: tuple[str, ...]  # what a {name} in it may be; empty: anything


def read(language: str) -> dict:
    """The package's data for a language, verified.

    Raises:
        ConfigError: another language than "zh-CN" or "en".
        DataError: the package is missing, or is not the version that the book was written for.
    """
    if language not in SHA256:
        raise ConfigError(f"language={language!r} 不认识；可选：{'、'.join(SHA256)}")
    remedy = f"请运行 pip install --force-reinstall home-assistant-intents=={VERSION}"
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"找不到语料包 home-assistant-intents：{remedy}")
    path = Path(list(spec.submodule_search_locations)[0]) / "data" / f"{language}.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"读不到语料文件 {path}（{error.strerror}）：{remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[language]:
        raise DataError(f"语料文件 {path} 与本书所用的不同：sha256 应为 {SHA256[language]}，实为 {found}；{remedy}")
    return json.loads(content)


@lru_cache(maxsize=2)
def templates(language: str = "zh-CN") -> tuple[Template, ...]:
    """Every sentence template of a language, in the order of the file."""
    from hassil import Intents
    from hassil.parse_expression import parse_sentence

    known = Intents.from_dict(read(language))
    found = []
    for intent in known.intents.values():
        for group, data in enumerate(intent.data):
            domains = (data.requires_context or {}).get("domain", ())
            for place, text in enumerate(data.sentence_texts):  # `data.sentences` is in another order
                found.append(Template(
                    f"{intent.name}-{group}-{place}", intent.name, (data.slots or {}).get("domain", ""),
                    parse_sentence(text).expression,
                    {**known.expansion_rules, **(data.expansion_rules or {})}, {**known.slot_lists, **(data.slot_lists or {})},
                    tuple([domains] if isinstance(domains, str) else domains),
                ))
    return tuple(found)


def split_of(language: str = "zh-CN") -> dict[str, str]:
    """Template id -> "train", "validation" or "test": within each intent by the order of hashes of the ids."""
    by_intent: dict[str, list[str]] = {}
    for template in templates(language):
        by_intent.setdefault(template.intent, []).append(template.id)
    place = {}
    for ids in by_intent.values():
        ids = sorted(ids, key=lambda name: hashlib.sha256(f"{language}/{name}".encode()).digest())
        held_out = max(1, round(HELD_OUT * len(ids))) if len(ids) >= 3 else 0
        for rank, name in enumerate(ids):
            place[name] = "test" if rank < held_out else "validation" if rank < 2 * held_out else "train"
    return place


def words(language: str, list_name: str, domains: tuple[str, ...] = (), training: bool = False) -> list[str]:
    """Our words for a list that the package leaves open; with `training`, only those that training may use."""
    if list_name == "name":
        groups = [NAMES[language][domain] for domain in domains or NAMES[language] if domain in NAMES[language]]
        groups = groups or list(NAMES[language].values())
    else:
        groups = [WORDS[language][list_name]]
    return [word for group in groups for word in group[: max(1, round(KNOWN_WORDS * len(group))) if training else None]]


def sample(template: Template, language: str, generator: random.Random, training: bool) -> list[Piece]:
    """One random sentence of a template as pieces, each with the slot that it fills or None."""
    from hassil import expression as tree
    from hassil.intents import RangeSlotList, TextSlotList

    def walk(node) -> list[Piece]:
        if isinstance(node, tree.TextChunk):
            return [(node.original_text, None)]
        if isinstance(node, tree.Alternative):
            return walk(generator.choice(node.items))
        if isinstance(node, tree.Permutation):
            return [piece for item in generator.sample(node.items, len(node.items)) for piece in [*walk(item), (" ", None)]]
        if isinstance(node, tree.Group):
            return [piece for item in node.items for piece in walk(item)]
        if isinstance(node, tree.RuleReference):
            return walk(template.rules[node.rule_name].expression)
        values = template.lists.get(node.list_name)
        if isinstance(values, TextSlotList):
            text = "".join(part for part, _ in walk(generator.choice(values.values).text_in))
        elif isinstance(values, RangeSlotList):
            text = str(generator.randrange(values.start, values.stop + 1, values.step))
        else:
            text = generator.choice(words(language, node.list_name, template.name_domains, training))
        return [(text.strip(), node.slot_name)]

    return walk(template.expression)


def spell(pieces: list[Piece]) -> tuple[str, list[str]]:
    """The sentence and a BIO label for each of its characters; runs of blanks become one, outer blanks go."""
    characters: list[tuple[str, str]] = []
    for text, slot in pieces:
        labels = ["O" if slot is None else ("B-" if i == 0 else "I-") + slot for i in range(len(text))]
        for character, label in zip(text, labels):
            if character != " " or (characters and characters[-1][0] != " "):
                characters.append((character, label))
    while characters and characters[-1][0] == " ":
        characters.pop()
    return "".join(c for c, _ in characters), [label for _, label in characters]


def sentences_of(template: Template, language: str) -> re.Pattern:
    """What matches every sentence, blanks left out, that a template can make with any of our words."""
    from hassil import expression as tree
    from hassil.intents import RangeSlotList, TextSlotList

    def either(options) -> str:
        return "(?:" + "|".join(options) + ")"

    def convert(node) -> str:
        if isinstance(node, tree.TextChunk):
            return re.escape(node.original_text.replace(" ", ""))
        if isinstance(node, tree.Alternative):
            return either(map(convert, node.items))
        if isinstance(node, tree.Permutation):
            return either("".join(map(convert, order)) for order in permutations(node.items))
        if isinstance(node, tree.Group):
            return "".join(map(convert, node.items))
        if isinstance(node, tree.RuleReference):
            return convert(template.rules[node.rule_name].expression)
        values = template.lists.get(node.list_name)
        if isinstance(values, TextSlotList):
            return either(convert(value.text_in) for value in values.values)
        if isinstance(values, RangeSlotList):
            return r"\d+"
        return either(re.escape(word.replace(" ", "")) for word in words(language, node.list_name, template.name_domains))

    return re.compile(convert(template.expression))


@lru_cache(maxsize=4)
def home_intents(language: str = "zh-CN", per_template: int = 8) -> DatasetDict:
    """Commands with intent and slots, as train, validation and test; split by template.

    Args:
        language: "zh-CN" or "en".
        per_template: at most so many distinct sentences are drawn from a template, always the same ones.

    Returns:
        Columns text (str), intent (ClassLabel), slots (a BIO ClassLabel for each character of the text), domain (kind of
        device that the template fixes, or ""), template (id), id. No sentence occurs twice; validation and test hold no
        sentence that a training template could make (nor test one that a validation template could).

    Raises:
        ConfigError: an unknown language.
        DataError: the package is missing or altered.
    """
    place, rows, seen = split_of(language), {split: [] for split in SPLITS}, set()
    earlier: list[re.Pattern] = []
    for split in SPLITS:
        own = [template for template in templates(language) if place[template.id] == split]
        for template in own:
            generator, drawn = random.Random(f"{language}/{template.id}"), 0
            for _ in range(4 * per_template):
                pieces = sample(template, language, generator, training=split == "train")
                text, labels = spell(pieces)
                if drawn == per_template:
                    break
                bare = text.replace(" ", "")
                if text in seen or any(known.fullmatch(bare) for known in earlier):
                    continue
                seen.add(text)
                drawn += 1
                rows[split].append((text, template, labels, f"{template.id}-{drawn}"))
        earlier += [sentences_of(template, language) for template in own if split != "test"]
    return _tables(language, rows)


def _tables(language: str, rows: dict[str, list]) -> DatasetDict:
    intents = list(dict.fromkeys(template.intent for template in templates(language)))
    kinds = sorted({label[2:] for part in rows.values() for row in part for label in row[2] if label != "O"})
    names = label_names(kinds)
    features = Features({
        "text": Value("string"), "intent": ClassLabel(names=intents), "slots": List(ClassLabel(names=names)),
        "domain": Value("string"), "template": Value("string"), "id": Value("string"),
    })
    info = DatasetInfo(
        description=f"智能家居指令（{language}），由 home-assistant-intents {VERSION} 的句子模板展开；房间、设备等词是本书写的。"
        "按模板划分，验证与测试里没有训练模板写得出的句子；意图与槽位来自模板，不是人工逐句标注。",
        license="Apache-2.0（模板）；词表随本书的许可", citation="Home Assistant 社区：home-assistant-intents。", features=features,
    )
    return DatasetDict({split: dataset({
        "text": [row[0] for row in part], "intent": [intents.index(row[1].intent) for row in part],
        "slots": [[names.index(label) for label in row[2]] for row in part], "domain": [row[1].domain for row in part],
        "template": [row[1].id for row in part], "id": [row[3] for row in part],
    }, info) for split, part in rows.items()})
