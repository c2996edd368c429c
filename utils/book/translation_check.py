"""Refuses a translation that changes what must be the same in both editions.

Formulas, code, roles, targets of links, bold and italic marks and numbers of a string are compared as multisets; a
translation may hold no Chinese that its source does not hold, and no Chinese punctuation outside quoted Chinese.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from .. import profiles
from . import catalogues
from .strings import HAN

MONTHS = ("January February March April May June July August September October November December").split()
TEXT = re.compile(r"\\(?:text|mathrm|operatorname)\{[^{}]*\}")
ROLE = re.compile(r"\{([\w:-]+)\}`([^`]*)`")
CODE = re.compile(r"(`+)(.+?)\1")
MATH = re.compile(r"\$+[^$]+\$+")
LINK = re.compile(r"\]\(([^()\s]+)\)|<(https?:[^>]+)>")
NUMBER = re.compile(r"(?<![A-Za-z_\d.])\d+(?:[.,]\d+)*")
LARGE = re.compile(r"(?<![A-Za-z_\d.])(\d+(?:\.\d+)?) ?(万|亿|million|billion)")
SIZES = {"万": 10**4, "亿": 10**8, "million": 10**6, "billion": 10**9}
MONTH = re.compile(r"(?<!\d)(1[0-2]|[1-9]) ?月")
LEADS = {"勘误": "Erratum", "注意": "Note", "提示": "Hint", "本次运行": "This run"}  # a box has its colour by them
LEAD = re.compile(rf"\*\*({'|'.join(LEADS)})(?:：)?\*\*")
PLACEHOLDER = re.compile(r"\$\{[^{}]*\}|\{\w*\}|<[^>]*>|\*\*")
PUNCTUATION = re.compile(r"[，。；：！？、（）《》「」【】]")
HAN_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
ENTRY = re.compile(r"(?m)^([^\s`#(\n].*)\n([A-Za-z].*)\n {2,}\S")


def glossary(root: Path = profiles.ROOT) -> dict[str, str]:
    """Chinese term -> its line of English terms, from appendix A."""
    text = (root / "chapters" / "appendix" / "A-glossary.md").read_text(encoding="utf-8")
    return dict(ENTRY.findall(text))


def parts(text: str, terms: dict[str, str]) -> dict[str, Counter]:
    """What must be equal in a string and its translation, by kind.

    Args:
        text: a string or its translation.
        terms: Chinese term -> English terms; a `term` role counts as its English in both.
    """
    found: dict[str, Counter] = {kind: Counter() for kind in ("公式", "角色", "代码", "链接", "数字", "粗体或斜体")}

    def take(kind: str, value) -> str:
        found[kind][value] += 1
        return " "

    def role(match: re.Match) -> str:
        name, target = match.groups()
        if name == "term":
            target = re.sub(r"^.*<(.+)>$", r"\1", target)
            target = terms.get(target, target)
        return take("角色", (name, target))

    if text.lstrip().startswith("\\") or not re.search(r"[$`]", text) and "\\text{" in text:
        take("公式", TEXT.sub("", text).replace(" ", ""))  # a line of a display formula, with words in it
        return found
    text = ROLE.sub(role, text)
    text = CODE.sub(lambda m: take("代码", m.group(2)), text)
    text = MATH.sub(lambda m: take("公式", TEXT.sub("", m.group()).replace(" ", "")), text)
    text = LINK.sub(lambda m: take("链接", m.group(1) or m.group(2)), text)
    text = LARGE.sub(lambda m: f"{float(m.group(1)) * SIZES[m.group(2)]:.0f}", text)  # 1.1 亿 is 110 million
    text = MONTH.sub(lambda m: MONTHS[int(m.group(1)) - 1], text)
    for number in NUMBER.findall(text):
        take("数字", number.rstrip(".,").replace(",", ""))
    found["粗体或斜体"]["**"] = text.count("**")
    return found


def faults(source: str, translation: str, terms: dict[str, str]) -> list[str]:
    """What is wrong with a translation; empty if nothing."""
    lines = []
    before, after = parts(source, terms), parts(translation, terms)
    for kind in before:
        missing, extra = before[kind] - after[kind], after[kind] - before[kind]
        if kind == "代码":
            missing, extra = _without_translated_code(missing, extra)
        if missing or extra:
            lines.append(f"{kind}不同：原文多出 {_show(missing)}，译文多出 {_show(extra)}")
    plain = MATH.sub(" ", CODE.sub(" ", translation))
    foreign = [run for run in HAN_RUN.findall(plain) if run not in source]
    if foreign:
        lines.append(f"译文里有原文没有的汉字：{'、'.join(foreign)}")
    quoted = re.sub(r"[“\"‘「][^”\"’」]*[”\"’」]", " ", plain)
    if PUNCTUATION.search(quoted):
        lines.append("译文里有中文标点")
    if "\n" in translation:
        lines.append("译文要写成一行")
    if (lead := LEAD.match(source)) and not translation.startswith(f"**{LEADS[lead.group(1)]}**"):
        lines.append(f"译文要以 **{LEADS[lead.group(1)]}** 开头")
    return lines


def _without_translated_code(missing: Counter, extra: Counter) -> tuple[Counter, Counter]:
    """Leave out pairs such as `B-类型` and `B-type`: Chinese inside a code span may be translated, nothing else of it."""
    rest, left = Counter(), extra.copy()
    for code in missing.elements():
        pattern = re.compile(".+".join(map(re.escape, HAN_RUN.split(code))), re.DOTALL)
        twin = next((other for other in left.elements() if HAN.search(code) and pattern.fullmatch(other)), None)
        if twin is None:
            rest[code] += 1
        else:
            left -= Counter([twin])
    return rest, left


def interface_faults(source: str, translation: str) -> list[str]:
    """What is wrong with a text of the build or of a script: its placeholders and tags must be the same."""
    before, after = (Counter(found.replace("、", ", ") for found in PLACEHOLDER.findall(text)) for text in (source, translation))
    return [] if before == after else [f"占位符不同：{_show(before - after)} / {_show(after - before)}"]


def _show(counter: Counter) -> str:
    return "、".join(str(item) for item in counter.elements()) or "无"


def check(edition: str, root: Path = profiles.ROOT) -> list[str]:
    """Every fault of every catalogue, one a line; only translations that a page would show are looked at."""
    terms, lines = glossary(root), []
    for name in catalogues.names(edition, root):
        for source, translation in catalogues.translations(name, edition, root).items():
            found = (interface_faults(source, translation) if name == catalogues.INTERFACE
                     else faults(source, translation, terms))
            lines += [f"{name}.po：{fault}\n    {source}\n    {translation}" for fault in found]
    return lines


def unusual_terms(edition: str, root: Path = profiles.ROOT) -> list[str]:
    """Strings that name a term of the glossary whose translation has none of its English names: to be looked at.

    The longest term at a place counts; words are compared without endings, in any case.
    """
    terms, lines = glossary(root), []
    pattern = re.compile("|".join(sorted(map(re.escape, terms), key=len, reverse=True)))
    for name in catalogues.names(edition, root):
        for source, translation in catalogues.translations(name, edition, root).items():
            words = _stem(translation)
            for term in dict.fromkeys(pattern.findall(MATH.sub(" ", source))):
                if HAN.search(term) and not any(_stem(word) in words for word in terms[term].split(",")):
                    lines.append(f"{name}.po：{term} = {terms[term]}\n    {source}\n    {translation}")
    return lines


def _stem(text: str) -> str:
    words = re.findall(r"[a-z0-9]+", text.lower().replace("-", " "))
    return " ".join(re.sub(r"(?<=\w{3})(ings?|ed|es|s|ies|y|e)$", "", word) for word in words)
