"""An edition in another language, made from the same stage: same outputs, no notebook executed again.

`localise` translates a staged book with the catalogues of `chapters/_site/locale`; `offer` lets the Chinese pages
link to it. Both only rewrite the stage, so that Sphinx builds an edition like any other book.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import yaml

from .. import profiles
from . import catalogues, interface
from .catalogues import Count
from .stage import Stage, source_of
from .strings import translate_markdown, translate_notebook

DOWNLOAD = re.compile(r'"(book\.(?:zip|pdf))"')  # they lie beside the Chinese pages
NUMBERED = re.compile(r"第 (\d+) 章 (.+)")
SWITCHES = {"zh": {"lang": "zh-CN", "text": "中文", "label": "本页的中文版"}, "en": {"lang": "en", "text": "English", "label": "This page in English"}}
STAYS = ("> **Note** This is the English edition of a Chinese book. Figures, printed output and the code with its comments "
         "stay in Chinese: both editions show the same run.")
UNTRANSLATED = " This page is not translated yet and follows in Chinese; its title and the navigation are in English."
PARTLY = " {missing} of the {total} strings of this page are not translated yet and stand in Chinese."
WHOLE_BOOK = (" In the whole book, {missing} of {total} strings are not translated yet; {whole} of {pages} pages are "
              "translated in full.")


def localise(stage: Stage, edition: str, root: Path = profiles.ROOT) -> dict[str, Count]:
    """Translate a staged book in place.

    Args:
        stage: as `stage.prepare` wrote it.
        edition: "en".
        root: the repository, where the catalogues lie.

    Returns:
        How far each page is translated.

    Raises:
        RunError: no such edition, or a catalogue cannot be read.
    """
    titles = catalogues.translations(catalogues.TITLES, edition, root)
    look = interface.translator(catalogues.translations(catalogues.INTERFACE, edition, root))
    found = catalogues.counts(edition, root)
    for page in found:
        path = stage.folder / source_of(page, root).relative_to(root / "chapters")
        known = {**titles, **catalogues.translations(page, edition, root)}
        _localise_page(path, known, look, notice(page, found))
    chinese = [page for page, count in found.items() if count.translated <= 1]  # the title alone
    _localise_toc(stage.folder / "_toc.yml", titles)
    _localise_config(stage.folder / "_config.yml", edition, titles, look, chinese)
    for path in interface.files(stage.folder, "_"):
        text = interface.replace(path.read_text(encoding="utf-8"), look)
        path.write_text(DOWNLOAD.sub(r'"../\1"', text), encoding="utf-8")
    return found


def notice(page: str, found: dict[str, Count]) -> str:
    """The line under the title: what stays Chinese, and how much is untranslated."""
    count, line = found[page], STAYS
    if count.translated <= 1:
        line += UNTRANSLATED
    elif count.missing:
        line += PARTLY.format(missing=count.missing, total=count.total)
    if page == "index":
        line += WHOLE_BOOK.format(**catalogues.whole_book(found))
    return line


def offer(stage: Stage, edition: str) -> None:
    """Give each page of the staged Chinese book a link to the same page of an edition that lies in a folder below it."""
    path = stage.folder / "_config.yml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    _add_switch(config, {**SWITCHES[edition], "prefix": edition})
    path.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _localise_page(path: Path, known: dict[str, str], look: interface.Look, line: str) -> None:
    def translate(text: str) -> str:
        numbered = NUMBERED.fullmatch(text)
        if text not in known and numbered and numbered.group(2) in known:  # the stage has put the number there
            return f"Chapter {numbered.group(1)}. {known[numbered.group(2)]}"
        return known.get(text) or look(text)

    if path.suffix != ".ipynb":
        text = translate_markdown(path.read_text(encoding="utf-8"), translate)
        path.write_text(_under_title(text, line), encoding="utf-8")
        return
    notebook = nbformat.read(path, as_version=4)
    translate_notebook(notebook, translate)
    for cell in notebook.cells:
        options = cell.metadata.get("mystnb", {})
        for name in ("code_prompt_show", "code_prompt_hide"):
            if name in options:
                options[name] = look(options[name])
    notebook.cells[0].source = _under_title(notebook.cells[0].source, line)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")


def _under_title(text: str, line: str) -> str:
    return re.sub(r"(?m)^# .+$", lambda match: f"{match.group()}\n\n{line}", text, count=1)


def _localise_toc(path: Path, titles: dict[str, str]) -> None:
    toc = yaml.safe_load(path.read_text(encoding="utf-8"))
    for part in toc.get("parts") or []:
        part["caption"] = titles.get(part["caption"], part["caption"])
    path.write_text(yaml.safe_dump(toc, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _localise_config(path: Path, edition: str, titles: dict[str, str], look: interface.Look,
                     chinese: list[str]) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["title"] = titles.get(config["title"], config["title"])
    html = config["html"]
    html["extra_footer"] = look(html["extra_footer"])
    if html.get("baseurl"):
        html["baseurl"] = f"{html['baseurl'].rstrip('/')}/{edition}/"
    options = config["sphinx"]["config"]
    options["language"] = edition
    for name in ("togglebutton_hint", "togglebutton_hint_hide", "nb_code_prompt_show", "nb_code_prompt_hide"):
        options[name] = look(options[name])
    theme = options["html_theme_options"]
    theme["search_bar_text"] = look(theme["search_bar_text"])
    _add_switch(config, {**SWITCHES["zh"], "prefix": ".."})
    options["chinese_pages"] = chinese
    path.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _add_switch(config: dict[str, Any], switch: dict[str, str]) -> None:
    config["sphinx"]["local_extensions"]["book_editions"] = "_extensions"
    config["sphinx"]["config"]["edition_switch"] = switch
