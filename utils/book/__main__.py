"""`python -m utils.book`: each sub-command is one function below; what it needs is imported inside it."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import obstacles, profiles
from ..errors import BookError
from .publishing import adopt, colab, pdf, pin, plan, publish, publishable, zip_site

# What an interrupted command has kept: the others keep nothing.
KEPT = {"run": "；做完的都留在缓存里。", "build": "；做完的都留在缓存里。", "record": "；做完的行都留着，再运行一次就接着做。"}


def run(options: argparse.Namespace) -> int:
    """Run chapters and print what came of them."""
    from . import report, runner

    results = runner.run(options.chapters, _settings(options))
    print("\n" + report.summary(results))
    return 0 if report.succeeded(results) else 1


def build(options: argparse.Namespace) -> int:
    """Run what is not in the cache, then build the site; print the path of its front page."""
    from . import build as site
    from . import catalogues, report, runner

    editions = [options.edition] if options.edition else []
    for edition in editions:
        catalogues.folder_of(edition)  # what there is not is refused before the notebooks run
    results = runner.run((), _settings(options))
    print("\n" + report.summary(results), flush=True)
    page = site.build(results, editions=editions)
    for edition in editions:
        print(f"{edition} 版：{catalogues.summary(catalogues.counts(edition))}")
    print(page)
    return 0 if report.succeeded(results) else 1


def check(options: argparse.Namespace) -> int:
    """Print what the lint finds in the notebooks."""
    from . import lint

    paths = [Path(path) for path in options.paths] or None
    if options.fix:
        for path in lint.fix(paths):
            print(f"改写：{path}")
    findings = lint.check(paths)
    print("\n".join(findings) if findings else "笔记本检查通过。")
    return 1 if findings else 0


def serve(options: argparse.Namespace) -> int:
    """Serve the built site on this machine."""
    from . import serve as server

    server.serve(options.port)
    return 0


def record(options: argparse.Namespace) -> int:
    """Make the recorded tables of a chapter anew, or check that a change of code has changed none."""
    from . import chapters, recording, runner

    (chapter,) = chapters.find([options.chapter], profiles.ROOT)
    tables = recording.to_renew(chapter, profiles.ROOT) if options.stale else [options.only]
    for table in tables:
        print(runner.record(chapter, _settings(options), table, options.check))
    if not tables:
        print(f"{chapter.id}：没有过期的表。")
    return 0


def records(options: argparse.Namespace) -> int:
    """List all recorded tables; fail if `--strict` and one does not hold."""
    from . import chapters, museum, recording, report

    found = chapters.all_chapters(profiles.ROOT)
    reasons = {chapter.id: recording.stale_tables(chapter, profiles.ROOT) for chapter in found}
    print(report.record_list(found, reasons))
    of_museum = museum.faults(profiles.ROOT)
    for reason in of_museum:
        print(f"博物馆的记录（第 14 章）不能用：{reason}（make museum）")
    fine = not of_museum and not any(stale for tables in reasons.values() for stale in tables.values())
    return 1 if options.strict and not fine else 0


def doctor(options: argparse.Namespace) -> int:
    """Check this machine; fail only if profile `mini` cannot run on it."""
    from .. import colab
    from .. import doctor as examination

    colab.prepare()  # in Colab's terminal, too, the font and the corpora come when they are asked for
    findings = []
    for finding in examination.examine():
        findings.append(finding)
        print(finding, flush=True)
    line, fit = examination.verdict(findings)
    print(line)
    return 0 if fit else 1


def new(options: argparse.Namespace) -> int:
    """Make a chapter from the template."""
    from . import template

    print(template.new(options.slug, options.part, options.title))
    return 0


def strings(options: argparse.Namespace) -> int:
    """Update the catalogues of an edition from the sources, check them, and count what is missing."""
    from . import catalogues, translation_check

    edition = options.edition
    for name in [*catalogues.names(edition), *catalogues.chosen(options.pages)]:
        catalogues.update(name, edition)
    lines = translation_check.check(edition)
    print("\n".join(lines + (translation_check.unusual_terms(edition) if options.terms else [])))
    print(catalogues.summary(catalogues.counts(edition)))
    return 1 if lines else 0


def clean(options: argparse.Namespace) -> int:
    """Remove what was built or executed; unfinished recordings and pre-training stay unless `--all`."""
    folder = profiles.ROOT / "_build"
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in ("records", "pretrain") and not options.all:
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="python -m utils.book", description="运行、记录与构建本书")
    commands = whole.add_subparsers(dest="command", required=True, metavar="命令")

    def command(function, summary: str, name: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(name or function.__name__, help=summary, description=summary)
        sub.set_defaults(function=function)
        return sub

    def run_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--profile", default="mini", help="mini（默认）或 full")
        sub.add_argument("-p", dest="overrides", metavar="NAME=VALUE", action="append", default=[], help="改一个参数")

    def schedule_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--jobs", type=_positive(int), default=2, metavar="N", help="同时运行几章（默认 2）")
        sub.add_argument("--force", action="store_true", help="不用缓存，全部重新执行")
        sub.add_argument("--timeout", type=_positive(float), metavar="S", help="每本笔记本的时限（秒）")

    running = command(run, "执行笔记本（没有改动的取自缓存）")
    running.add_argument("chapters", nargs="*", metavar="CHAPTER", help="编号、短名或路径；不写则全部")
    run_options(running)
    schedule_options(running)
    building = command(build, "执行需要执行的，再生成网站")
    run_options(building)
    schedule_options(building)
    building.add_argument("--edition", metavar="en", help="再建一种语言的版本，放在网站的 en 文件夹")
    checking = command(check, "检查笔记本的写法")
    checking.add_argument("paths", nargs="*")
    checking.add_argument("--fix", action="store_true", help="先改写成规范的 JSON，去掉运行结果")
    listing = command(strings, "由源文件更新译文目录，检查译文，数出未译的文字")
    listing.add_argument("pages", nargs="*", metavar="PAGE", help="要开始翻译的页；已有目录的页总会更新")
    listing.add_argument("--edition", default="en", help="版本（默认 en）")
    listing.add_argument("--terms", action="store_true", help="再列出没有用术语表英文的译文")
    command(serve, "在本机查看网站").add_argument("port", nargs="?", type=_positive(int, 65535), default=8000)
    recording = command(record, "重新生成一章的记录（可中断后继续）")
    recording.add_argument("chapter", metavar="CHAPTER")
    which = recording.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="TABLE", help="只记录这一张表")
    which.add_argument("--stale", action="store_true", help="只记录过期的与尚无记录的表，一张一次")
    recording.add_argument("--check", action="store_true", help="抽查：每张过期的表只重算几行，与记录逐位相同就仍有效")
    run_options(recording)
    command(records, "列出所有记录，是否过期").add_argument("--strict", action="store_true", help="有过期的就以失败退出")
    command(doctor, "检查这台机器能不能运行本书，每一行写明怎么办")
    making = command(new, "由模板新建一章")
    for name in ("slug", "part", "title"):
        making.add_argument(name)
    command(pin, "向模型库查明每个模型与数据的提交").add_argument("--update", action="store_true", help="改用默认分支现在的提交")
    adopting = command(adopt, "写下仓库的地址和 GPU 运行机的标签")
    for name in ("repository", "gpu_runner"):
        adopting.add_argument(name)
    copying = command(colab, "生成 Colab 副本")
    copying.add_argument("--tag", default="main", help="准备单元取哪个标签或分支（默认 main）")
    copying.add_argument("--push", metavar="REMOTE", help="再推送到这个远程仓库的 colab 分支")
    command(publishable, "能不能发布；不能就说为什么")
    command(plan, "打印发布时的各个任务（供工作流使用）")
    publishing = command(publish, "由别的机器执行的结果生成网站和清单")
    publishing.add_argument("folder", metavar="FOLDER", help="放着各章执行结果的文件夹")
    publishing.add_argument("--profile", default="full")
    command(pdf, "把建好的网站印成一本 PDF（要有 Chromium）")
    command(zip_site, "把建好的网站打成一个离线的 zip", "zip")
    command(clean, "删除所有生成的文件").add_argument("--all", action="store_true", help="连同未完成的记录和预训练")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. An error of the book's own is one line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # a terminal with another encoding must not stop a run
    options = parser().parse_args(arguments)
    try:
        status = options.function(options)
        sys.stdout.flush()
        return status
    except BookError as error:
        print(f"错误：{error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if (reason := obstacles.explain(error)) is None:
            raise
        print(f"错误：{reason}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # it is the output itself that finds no room: what is left of it must not fail once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "utils":
            raise
        print(f"错误：这个 Python（{sys.executable}）里没有包 {error.name}：请改用 .venv/bin/python，还没有 .venv 就先运行 make book；"
              "自检：python -m utils.book doctor。", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"已中断{KEPT.get(options.command, '。')}", file=sys.stderr)
        return 130


def _settings(options: argparse.Namespace):
    from .overrides import parse_override
    from .runner import Settings

    scheduling = {name: getattr(options, name) for name in ("jobs", "force", "timeout") if hasattr(options, name)}
    overrides = tuple(parse_override(text) for text in options.overrides)
    return Settings(profile=options.profile, overrides=overrides, **scheduling)


def _positive(kind: type, most: float = math.inf):
    """An argparse type: a number above zero, and not above `most`."""

    def number(text: str):
        value = kind(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError("要大于 0" + (f"，不大于 {most}" if most < math.inf else ""))
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
