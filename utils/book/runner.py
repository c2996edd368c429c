"""Run chapters: those whose key is in the cache are taken from it, the others are executed, several at a time.

Nothing heavy is imported unless a notebook has to be executed.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import obstacles, profiles
from .. import records as chapter_records
from ..errors import BookError, ConfigError, RunError
from ..files import write_atomically
from . import cache, carried_rows, dependencies, fingerprints, locks, overrides, recording, spot_check
from .chapters import Chapter, find
from .results import ChapterResult

TIMEOUTS = {"mini": 600.0, "full": 4 * 3600.0}  # seconds for a whole notebook
DEFAULT_JOBS = 2


@dataclass(frozen=True)
class Settings:
    """How chapters are run.

    Attributes:
        profile: "mini" or "full".
        jobs: how many chapters at once; never more than the machine has cores.
        force: execute even what the cache holds.
        timeout: seconds for a whole notebook; None takes the profile's.
        overrides: values for parameters besides PROFILE.
        root: folder of the repository.
    """

    profile: str = "mini"
    jobs: int = DEFAULT_JOBS
    force: bool = False
    timeout: float | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    root: Path = profiles.ROOT


def parameters_of(chapter: Chapter, settings: Settings) -> dict[str, Any]:
    """What is injected into a chapter: the profile, if it has one, what the profile changes in it, and the overrides.

    Raises:
        ConfigError: the chapter has no such parameter.
    """
    known = dependencies.parameters(dependencies.code_cells(dependencies.read_notebook(chapter.path)))
    for name, _ in settings.overrides:
        if name not in known:
            valid = "、".join(parameter for parameter in known if parameter not in ("PROFILE", "RECORD")) or "没有"
            raise ConfigError(f"{chapter.id}：没有参数 {name!r}；可选：{valid}")
    profile = {"PROFILE": settings.profile} if "PROFILE" in known else {}
    profile |= profiles.CHAPTER_PARAMETERS.get(settings.profile, {}).get(chapter.number, {})
    return {**profile, **{name: overrides.located(value, known[name]) for name, value in settings.overrides}}


def run(
    names: Sequence[str] = (), settings: Settings = Settings(), say: Callable[[str], None] = print
) -> list[ChapterResult]:
    """Run chapters; the results come in the order of the book. A chapter that fails does not stop the others.

    Args:
        names: chapters, as `chapters.find` takes them; none means all.
        settings: how to run them.
        say: takes each line of progress.

    Raises:
        RunError, ConfigError: an unknown chapter, profile or parameter.
    """
    profiles.get(settings.profile)
    chosen = find(names, settings.root)
    jobs = [_Job(chapter, settings) for chapter in chosen]
    results = {job.chapter.id: found for job in jobs if (found := job.from_cache())}
    waiting = [job for job in jobs if job.chapter.id not in results]
    for result in results.values():
        say(f"缓存 {result.chapter}")
    if waiting:
        results.update(_execute(waiting, settings, say))
    return [results[chapter.id] for chapter in chosen]


class _Job:
    """One chapter of one run."""

    def __init__(self, chapter: Chapter, settings: Settings) -> None:
        self.chapter, self.settings = chapter, settings
        self.parameters = parameters_of(chapter, settings)
        self.device = fingerprints.device_name()
        self.store = cache.Store(settings.root, settings.profile)
        self.key = self._key()

    def _key(self) -> str:
        settings = self.settings
        return cache.key_of(cache.inputs(self.chapter, self.parameters, settings.profile, self.device, settings.root))

    def from_cache(self) -> ChapterResult | None:
        return None if self.settings.force else self.store.load(self.chapter, self.key)

    def execute(self, executor: Any, say: Callable[[str], None]) -> ChapterResult:
        """Execute the chapter and, if it succeeds, keep it in the cache; what another process is executing is waited for."""
        settings, chapter = self.settings, self.chapter
        folder = settings.root / "_build" / "runs" / settings.profile / chapter.id
        result = ChapterResult(
            chapter.id, chapter.path, None, "failed", 0.0, None, log=folder / "run.log", profile=settings.profile,
            device=self.device, run_at=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        )
        say(f"开始 {chapter.id}")
        try:
            with locks.alone(folder / "lock", f"执行 {chapter.id}", lambda: not executor.stopped) as waited:
                return waited and self.from_cache() or self._execute_alone(executor, folder, result)
        except Exception as error:  # noqa: BLE001 (a fault in one chapter must not stop the others)
            result.status, result.executed = "failed", None
            known = obstacles.explain(error) or (str(error) if isinstance(error, BookError) else None)
            result.error = f"{chapter.id}：{known or f'{type(error).__name__}: {error}'}"
        return result

    def _execute_alone(self, executor: Any, folder: Path, result: ChapterResult) -> ChapterResult:
        settings, chapter = self.settings, self.chapter
        defaults = dependencies.parameters(dependencies.code_cells(dependencies.read_notebook(chapter.path)))
        plan = recording.shown_plan(chapter, settings.root, settings.profile)
        plan["own"] = overrides.replaced_texts(self.parameters, defaults)
        done = executor.execute(
            chapter, self.parameters, folder / "unfinished.ipynb", result.log,
            timeout=settings.timeout or TIMEOUTS[settings.profile],
            extra_environment={chapter_records.PLAN: str(write_plan(plan, folder))},
        )
        result.seconds, result.peak_memory_mb, result.error = done.seconds, done.peak_memory_mb, done.error
        if result.error is None:
            result.status, result.results, content = "ok", done.results, done.notebook
            now = recording.circumstances(settings.root)
            result.versions, result.hardware = now["versions"], now["hardware"]
            result.stale = [f"{name}：{reason}" for name, table in plan["tables"].items() for reason in table["stale"]]
            # An input edited during the run: what came out belongs to no key, so no later run may find it.
            key = self.key if self._key() == self.key else cache.key_of({"edited": result.run_at, "key": self.key})
            self.store.save(chapter, key, result, content)
        return result


def write_plan(plan: dict[str, Any], folder: Path) -> Path:
    """Write what the kernel is told where it will look for it."""
    path = folder / "plan.json"
    write_atomically(path, json.dumps(plan, ensure_ascii=False, indent=1).encode())
    return path


@contextlib.contextmanager
def executor(root: Path, say: Callable[[str], None]) -> Iterator[Any]:
    """What executes notebooks (`execution.Executor`); leaving it ends every kernel."""
    from . import kernels  # here and below: these imports take a second, which a run from the cache need not spend

    warnings.filterwarnings("ignore", "IPython (parent|dir)", UserWarning)  # no home: kernels have a folder of their own
    environment = kernels.environment(root / "_build" / "ipython")
    with contextlib.ExitStack() as stack:
        zygote = stack.enter_context(kernels.Zygote(environment, root / "_build" / "runs" / "zygote.log")) if kernels.CAN_FORK else None
        from .execution import Executor  # while the zygote imports TensorFlow

        if zygote:
            say("导入 TensorFlow …")
            zygote.wait_until_ready()
        yield Executor(zygote, environment)


def _execute(waiting: Sequence[_Job], settings: Settings, say: Callable[[str], None]) -> dict[str, ChapterResult]:
    results: dict[str, ChapterResult] = {}
    count = min(settings.jobs, os.cpu_count() or 1, len(waiting))
    with executor(settings.root, say) as running:
        pool = ThreadPoolExecutor(count, thread_name_prefix="chapter")

        try:
            for future in as_completed([pool.submit(job.execute, running, say) for job in waiting]):
                result = future.result()
                results[result.chapter] = result
                outcome = "失败" if result.error else "完成"
                say(f"[{len(results)}/{len(waiting)}] {outcome} {result.chapter}，{result.seconds:.0f} 秒")
        finally:  # after an interrupt, what has not begun never does, and what runs is killed
            pool.shutdown(wait=False, cancel_futures=True)
            running.kill_all()
            pool.shutdown(wait=True)
    return results


def record(
    chapter: Chapter, settings: Settings, only: str | None = None, check: bool = False, say: Callable[[str], None] = print
) -> Path:
    """Make the recorded tables of a chapter anew, without a time limit; an interrupted recording goes on where it was.

    Args:
        chapter: the notebook; its number names the file.
        settings: profile, parameters and root count.
        only: the one table to make; the others stay as they are.
        check: compute only some rows of each stale table, and keep the table if they are the same; see `spot_check`.
        say: takes each line of progress.

    Returns:
        The file of records.

    Raises:
        RunError: the chapter cannot be recorded, or its run failed.
    """
    known = dependencies.parameters(dependencies.code_cells(dependencies.read_notebook(chapter.path)))
    if chapter.number is None or "RECORD" not in known:
        raise RunError(f"{chapter.id}：没有参数 RECORD 或没有编号，不能记录")
    profiles.get(settings.profile)
    parameters = parameters_of(chapter, settings)
    plan = recording.plan(chapter, settings.root, settings.profile, parameters, only)
    if not plan["tables"]:
        raise RunError(f"{chapter.id}：没有 collect，没有可记录的表")
    chosen = spot_check.samples(chapter, settings.root, settings.profile, parameters, only) if check else None
    folder = settings.root / "_build" / "records"
    side, log = folder / f"{chapter.number:02d}.unfinished.ipynb", folder / f"{chapter.number:02d}.log"
    with locks.alone(folder / f"{chapter.number:02d}.lock", f"记录 {chapter.id}"), executor(settings.root, say) as running:
        say(f"记录 {chapter.id}")
        for name, keys in (chosen or {}).items():
            say(f"{name}：重算 {len(keys)} 行，与记录比较")
        for name in () if check else carried_rows.carry(chapter, settings.root, settings.profile, parameters, only):
            say(f"{name}：只改了实验列表，已有的行不再重做")
        try:
            done = running.execute(
                chapter, {**parameters, "RECORD": True}, side, log, stream=sys.stdout,
                extra_environment={chapter_records.PLAN: str(write_plan(plan | {"sample": chosen}, folder / f"{chapter.number:02d}"))},
            )
        finally:
            running.kill_all()
    if done.error:
        raise RunError(f"{done.error}；已完成的行留在 {chapter_records.partial_file(chapter.number)}，日志 {log}")
    entries = (recording.entries_of(chapter, settings.root, settings.profile, parameters, only) if chosen is None
               else spot_check.checked(chapter, settings.root, parameters, chosen))
    file = chapter_records.recorded_file(chapter.number)
    text = json.dumps({"chapter": chapter.number, "tables": entries}, ensure_ascii=False, indent=1) + "\n"
    write_atomically(file, text.encode())
    if only is None and not check:
        chapter_records.partial_file(chapter.number).unlink(missing_ok=True)
    for reason in recording.stale(chapter, settings.root):
        say(f"注意：{reason}")
    return file
