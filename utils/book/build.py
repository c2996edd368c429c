"""Build the site from the stage with jupyter-book, warnings as errors, only when something changed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import obstacles, profiles
from ..errors import RunError
from . import catalogues, locks
from . import editions as translating
from . import stage as staging
from .results import ChapterResult

BUILD = profiles.ROOT / "_build"
STAMP = ".book-stamp"  # inside the site, so that site and stamp change places together
TOOLS = ("jupyter-book", "Sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme", "sphinxcontrib-bibtex",
         "sphinx-mathjax-offline")
MARKER = re.compile(r"\x1b\[[0-9;]*m")
REFUSED = re.compile(r"\[Errno (\d+)\][^'\n]*(?:'([^'\n]*)')?")  # of an OSError, with the file if it names one


def build(
    results: Sequence[ChapterResult],
    root: Path = profiles.ROOT,
    folder: Path | None = None,
    allow_missing: bool = False,
    editions: Sequence[str] = (),
) -> Path:
    """Stage the chapters and build the site; if nothing changed since the last build, only return its path.

    A site is built aside and moved into place at the end: a kill at any moment leaves the old one.

    Args:
        results: one for each chapter that was run.
        root: the repository.
        folder: where the build lies; `_build` of the repository if None.
        allow_missing: whether notebooks without a result are built without outputs.
        editions: other languages to build beside the Chinese, each in a folder of the site named after it.

    Returns:
        Path of `index.html`.

    Raises:
        RunError: a chapter has no result, there is no such edition, or jupyter-book gave a warning or an error.
    """
    folder = folder or root / "_build"
    with locks.alone(folder / "site.lock", "建站", lambda: True):
        return _build_alone(results, root, folder, allow_missing, editions)


def _build_alone(results: Sequence[ChapterResult], root: Path, folder: Path, allow_missing: bool,
                 editions: Sequence[str]) -> Path:
    site = folder / "html"
    for edition in editions:
        catalogues.folder_of(edition, root)
    stage = staging.prepare(results, folder / "stage", root, allow_missing)
    for edition in editions:
        translating.offer(stage, edition)
    _build_site(stage.folder, site, folder, keep=editions)
    for edition in editions:
        stage = staging.prepare(results, folder / f"stage-{edition}", root, allow_missing)
        translating.localise(stage, edition, root)
        _build_site(stage.folder, site / edition, folder)
    return site / "index.html"


def _build_site(stage: Path, site: Path, folder: Path, keep: Sequence[str] = ()) -> None:
    """Build one site from its stage unless it is there already; folders named in `keep` move from the old to the new."""
    old, work = site.with_name(f"{site.name}.old"), folder / "site-work"
    if old.exists() and not site.exists():  # killed between the two moves below
        old.rename(site)
    stamp = fingerprint(stage)
    if (site / STAMP).is_file() and (site / STAMP).read_text() == stamp:
        return
    shutil.rmtree(work, ignore_errors=True)  # from scratch: Sphinx repeats no warning for a page that it has cached
    run_jupyter_book(stage, work, folder / "site.log")
    made = work / "_build" / "html"
    (made / STAMP).write_text(stamp)
    shutil.rmtree(old, ignore_errors=True)
    for name in keep:
        if (site / name).is_dir():
            (site / name).rename(made / name)
    if site.exists():
        site.rename(old)
    made.rename(site)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)


def fingerprint(folder: Path) -> str:
    """Hash of everything that the site depends on: all staged files and the versions of the tools."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    for tool in TOOLS:
        digest.update(f"{tool}={importlib.metadata.version(tool)}\n".encode())
    digest.update(sys.version.encode())
    return digest.hexdigest()


def run_jupyter_book(stage: Path, work: Path, log: Path) -> None:
    """Run `jupyter-book build` on the stage; quiet unless it fails.

    Raises:
        RunError: what the system refused (a full disk, memory), else the first warnings or errors, paths relative to the
            stage, else the last line; the log holds everything.
    """
    arguments = ["build", str(stage), "--path-output", str(work), "-W", "-n", "--keep-going", "-q"]
    program = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          encoding="utf-8", errors="replace", check=False)
    text = MARKER.sub("", done.stdout)
    log.write_text(text, encoding="utf-8")
    if done.returncode == 0 and (work / "_build" / "html" / "index.html").is_file():
        return
    raise RunError(f"网站没有建成：{_reason(done.returncode, text.replace(f'{stage}{os.sep}', ''))}（全文见 {log}）")


def _reason(status: int, text: str) -> str:
    """Why jupyter-book ended with a status and a text."""
    for number, path in REFUSED.findall(text):
        if reason := obstacles.explain(OSError(int(number), "", path or None), "网站的文件"):
            return reason
    if status < 0:  # 9 is what Linux sends where there is no more memory
        advice = "多半是内存不够，请关掉别的程序再运行一次" if status == -9 else "请再运行一次"
        return f"建站的进程被信号 {-status} 终止，{advice}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    faults = [line for line in lines if re.search(r"WARNING|ERROR|CRITICAL", line)]
    if faults:
        return f"{'；'.join(dict.fromkeys(faults[:10]))}，共 {len(faults)} 条"
    return lines[-1] if lines else f"jupyter-book 没有说明原因，退出状态 {status}"
