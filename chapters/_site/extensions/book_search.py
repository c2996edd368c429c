"""Search that finds Chinese: index and query are both cut into Han pairs, and every piece of a query must occur.

Sphinx's own script requires only terms longer than two characters ("as search terms with length < 3 are discarded").
A pair has two characters, so a query such as "BERT模型" would be satisfied by 模型 alone. The stemmer therefore pads
short terms to three characters, in Python and in the browser alike, and all terms become required. Single characters
are indexed too, so that a query of one character finds something.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.search import SearchLanguage, languages

HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
LATIN = r"0-9A-Za-z_\u00c0-\u024f"
RUN = re.compile(f"[{HAN}]+|[{LATIN}]+")
PAD = "〓"  # never part of a term itself


def is_han(text: str) -> bool:
    return bool(re.match(f"[{HAN}]", text))


def pairs(run: str) -> list[str]:
    """Cut a run of Han characters into overlapping pairs; a single character stays as it is."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


class HanPairs(SearchLanguage):
    """The language "zh" of the search: see the module's docstring."""

    lang = "zh"
    language_name = "Chinese"
    stopwords: set[str] = set()

    def split(self, input: str) -> list[str]:  # noqa: A002 (Sphinx names it so)
        words = []
        for run in RUN.findall(input):
            if is_han(run):
                words += [*pairs(run), *(run if len(run) > 1 else ())]
            elif not run.isdigit():  # Sphinx's script drops bare numbers from the query
                words.append(run)
        return words

    def stem(self, word: str) -> str:
        word = word.lower()
        if len(word) > 3 and re.fullmatch("[a-z]+[^s]s", word):
            word = word[:-1]  # tokens and token, transformers and transformer
        return word.ljust(3, PAD)

    def word_filter(self, word: str) -> bool:
        return bool(word)

    js_splitter_code = rf"""
function splitQuery(query) {{
  const words = [];
  for (const run of query.match(/[{HAN}]+|[{LATIN}]+/g) || []) {{
    if (!/^[{HAN}]/.test(run) || run.length === 1) words.push(run);
    else for (let i = 0; i + 1 < run.length; i++) words.push(run.slice(i, i + 2));
  }}
  return words;
}}
"""
    js_stemmer_code = rf"""
var Stemmer = function () {{
  this.stemWord = function (word) {{
    word = word.toLowerCase();
    if (word.length > 3 && /^[a-z]+[^s]s$/.test(word)) word = word.slice(0, -1);
    return word.padEnd(3, "{PAD}");
  }};
}};
"""


def setup(app: Sphinx) -> dict[str, bool]:
    languages["zh"] = HanPairs
    return {"parallel_read_safe": True, "parallel_write_safe": True}
