"""The self-check: each check is made to fail, and must name the remedy; none may bring the examination down."""

import ast
import collections
import http.server
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from packaging.requirements import Requirement

from utils import colab, doctor, figures, machine, profiles
from utils.book import __main__ as command_line
from utils.corpora import sources
from utils.doctor import FAIL, NOTE, OK
from utils.errors import ConfigError, DataError

FACTS = {"tensorflow": "2.21.0", "keras": "3.15.1", "backend": "tensorflow", "gpus": [], "works": True}


@pytest.fixture(autouse=True)
def no_hub_variables(monkeypatch):
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")  # the loopback hub is not asked through a proxy


def only(findings):
    (finding,) = findings
    return finding


# --- what it must stand on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["__init__", "book/__init__", "book/__main__", "book/publishing", "colab", "doctor", "machine", "obstacles",
                                  "profiles", "errors"])
def test_an_old_python_can_read_the_doctor_far_enough_to_be_told_that_it_is_old(name):
    source = (profiles.ROOT / "utils" / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))


def old_python(version):
    """A Python of this version that runs, from PATH or from pyenv; None if there is none on this machine."""
    found = [shutil.which(f"python{version}"), *sorted(pathlib.Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))]
    runs = (one for one in filter(None, found) if subprocess.run([one, "-c", ""], capture_output=True).returncode == 0)
    return next(runs, None)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_an_old_python_is_told_that_it_is_old_and_sees_no_traceback(version):
    python = old_python(version)
    if python is None:
        pytest.skip(f"这台机器上没有 Python {version}（PATH 与 ~/.pyenv/versions 都找过）：自检在它上面的样子这次没有看")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("PYTHONPATH", None)  # the packages of this test's Python are not those of the old one
    done = subprocess.run([python, "-m", "utils.book", "doctor"], cwd=profiles.ROOT, env=environment, capture_output=True,
                          text=True, encoding="utf-8")
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr, done.stderr
    assert any(line.startswith(f"{doctor.MARKS[FAIL]} Python：{version}.") for line in done.stdout.splitlines()), done.stdout
    assert "查不了" not in done.stdout and "Python" in done.stdout.splitlines()[-1]


def test_the_doctor_runs_without_any_package_and_says_what_is_missing():
    command = [sys.executable, "-I", "-S", "-c",
               f"import sys; sys.path.insert(0, {str(profiles.ROOT)!r}); from utils import doctor;"
               "[print(f) for f in doctor.examine([doctor.check_packages, doctor.check_font, doctor.check_data])]"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env={"PYTHONIOENCODING": "utf-8"})
    assert result.returncode == 0, result.stderr
    for word in ("包 tensorflow", "包 snownlp", "字体", "语料"):
        assert any(line.startswith(f"{doctor.MARKS[FAIL]} {word}") for line in result.stdout.splitlines()), word
    assert "pip install" in result.stdout


# --- Python and where it runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(3, 8, 20), (3, 10, 1), (3, 14, 0), (2, 7, 18)])
def test_a_python_without_wheels_fails_and_names_those_that_have(version):
    finding = only(doctor.check_python(version))
    assert finding.level == FAIL and "3.13、3.12、3.11" in finding.remedy


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 9), (3, 13, 15)])
def test_a_python_with_wheels_passes_if_it_has_64_bits(version):
    assert only(doctor.check_python(version)).level == OK
    assert only(doctor.check_python(version, bits=32)).level == FAIL


def test_the_environment_is_recognised(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    (tmp_path / "envs" / "book" / "conda-meta").mkdir(parents=True)
    (tmp_path / "conda-meta").mkdir()
    for prefix, level, word in ((tmp_path / "elsewhere", NOTE, "python -m venv"), (tmp_path, NOTE, "conda create"),
                                (tmp_path / "envs" / "book", OK, doctor.NOTHING)):
        monkeypatch.setattr(sys, "prefix", str(prefix))
        monkeypatch.setattr(sys, "base_prefix", str(prefix))
        finding = only(doctor.check_environment())
        assert (finding.level, word in finding.remedy) == (level, True)
    monkeypatch.setattr(sys, "base_prefix", "/another")
    assert "venv" in only(doctor.check_environment()).found
    for variable, name in (("COLAB_RELEASE_TAG", "Colab"), ("KAGGLE_KERNEL_RUN_TYPE", "Kaggle")):
        with monkeypatch.context() as context:
            context.setenv(variable, "x")
            assert only(doctor.check_environment()).found == name


# --- packages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [">=2.20,<2.22", "==0.12.3", ">=3.13,<4", "==1.0.4.post1", "", "!=2.0", ">1,<=2.21"])
def test_ranges_are_read_as_packaging_reads_them(ranges):
    for version in ("2.19.1", "2.20.0", "2.20", "2.21.0", "2.22.0", "0.12.3", "0.12.30", "4.0.0", "3.13.0", "1.0.4.post1", "2.0.0",
                    "1.0.4", "2.21.0+cpu", "10.0"):
        assert machine.satisfies(version, ranges) == Requirement(f"x{ranges}").specifier.contains(version), (version, ranges)


def test_every_requirement_is_read_and_the_site_is_told_from_the_notebooks():
    lines = [line.split("#")[0].strip() for line in (profiles.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    expected = [Requirement(line) for line in lines if line]
    rows = machine.required()
    assert [name for name, _, _ in rows] == [requirement.name for requirement in expected]
    assert all(Requirement(f"x{ranges}").specifier == r.specifier for (_, ranges, _), r in zip(rows, expected, strict=True))
    needed = {name: need for name, _, need in rows}
    assert needed["tensorflow"] and needed["seqeval"] and needed["matplotlib"] and not needed["jupyter-book"]


def test_packages_missing_or_outside_their_range_are_named_with_the_command():
    versions = {name: ranges.split(",")[0].lstrip("=>") for name, ranges, _ in machine.required()}
    first, *rest = doctor.check_packages(versions.get)
    assert first.level == OK and not rest
    versions.update(tensorflow="2.6.0", snownlp=None)
    versions["jupyter-book"] = None
    _, *rest = doctor.check_packages(versions.get)
    found = {finding.name: finding for finding in rest}
    assert (found["包 snownlp"].level, found["包 tensorflow"].level, found["包 jupyter-book"].level) == (FAIL, NOTE, NOTE)
    assert 'pip install "snownlp==0.12.3"' in found["包 snownlp"].remedy and "2.6.0" in found["包 tensorflow"].found


def test_in_colab_a_package_that_comes_when_it_is_imported_is_noted_and_another_still_fails(monkeypatch):
    there = {name: ranges.split(",")[0].lstrip("=>") for name, ranges, _ in machine.required()}
    there |= dict.fromkeys([*colab.MODULES.values(), "tensorflow"])
    monkeypatch.setattr(machine, "installed", there.get)
    levels = lambda: {finding.name: finding.level for finding in doctor.check_packages()[1:]}
    assert set(levels().values()) == {FAIL}
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert levels() == {f"包 {name}": NOTE for name in colab.MODULES.values()} | {"包 tensorflow": FAIL}
    assert "自动安装" in next(finding.remedy for finding in doctor.check_packages() if finding.name == "包 seqeval")
    # Another machine's list is judged as before: the article's environment is not made better by running the cell in Colab.
    assert {finding.level for finding in doctor.check_packages(there.get)[1:]} == {FAIL}


# --- TensorFlow and the device ------------------------------------------------------------------------------------------


def test_a_tensorflow_that_cannot_be_imported_fails_with_the_reason():
    def broken():
        raise ImportError("libcudart.so.99: cannot open")

    finding = only(doctor.check_tensorflow(broken))
    assert finding.level == FAIL and "libcudart" in finding.found and "requirements.txt" in finding.remedy


@pytest.mark.parametrize("change, remedy", [({"backend": "torch"}, "KERAS_BACKEND=tensorflow"), ({"works": False}, "--force-reinstall")])
def test_a_tensorflow_that_does_not_compute_for_the_book_fails(change, remedy):
    finding = doctor.check_tensorflow(lambda: FACTS | change)[0]
    assert finding.level == FAIL and remedy in finding.remedy


def test_the_device_is_named_and_a_card_that_tensorflow_does_not_see_is_noted(monkeypatch):
    assert doctor.check_tensorflow(lambda: FACTS | {"gpus": ["H100"]})[1].found == "GPU H100"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.check_tensorflow(lambda: FACTS)[1].level == OK
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    finding = doctor.check_tensorflow(lambda: FACTS)[1]
    assert finding.level == NOTE and "tensorflow[and-cuda]" in finding.remedy


def test_a_probe_that_dies_is_told_apart_from_one_that_raises(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(machine, "PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "进程以 -9 结束" in doctor.check_tensorflow()[0].found
    monkeypatch.setattr(machine, "PROBE", "raise ImportError('no such thing')")
    assert "no such thing" in doctor.check_tensorflow()[0].found
    monkeypatch.setattr(machine, "PROBE", f"print('noise'); print({json.dumps(json.dumps(FACTS))})")
    assert doctor.check_tensorflow()[0].level == OK


def test_this_machine_has_what_the_facts_say():
    import keras
    import tensorflow

    facts = machine.tensorflow_facts()
    assert (facts["tensorflow"], facts["keras"], facts["works"]) == (tensorflow.__version__, keras.__version__, True)


# --- memory, font, disk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gib, level, remedy", [(1, FAIL, "2 GiB"), (3, NOTE, "--jobs 1"), (16, OK, doctor.NOTHING)])
def test_little_memory_is_noted_and_too_little_fails(gib, level, remedy):
    finding = only(doctor.check_memory(lambda: gib * doctor.GIB))
    assert finding.level == level and remedy in finding.remedy


def test_unknown_memory_is_no_failure():
    assert only(doctor.check_memory(lambda: None)).level == OK


def test_a_container_limit_counts_if_it_is_lower(monkeypatch):
    monkeypatch.setattr(machine.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}[name])
    limits = {"/sys/fs/cgroup/memory.max": "max\n"}

    def read_text(path):
        if str(path) not in limits:
            raise FileNotFoundError
        return limits[str(path)]

    monkeypatch.setattr(machine.Path, "read_text", read_text)
    assert machine.memory_bytes() == 4 * doctor.GIB
    limits["/sys/fs/cgroup/memory.max"] = str(doctor.GIB)
    assert machine.memory_bytes() == doctor.GIB


def test_a_missing_font_fails_and_says_what_to_install(monkeypatch):
    def missing():
        raise ConfigError("找不到中文字体")

    monkeypatch.setattr(figures, "font_path", missing)
    finding = only(doctor.check_font())
    assert finding.level == FAIL and "找不到中文字体" in finding.found and "pip install" in finding.remedy


@pytest.mark.parametrize("gib, level, remedy", [(0.1, FAIL, "clean"), (2, NOTE, "5 GiB"), (50, OK, doctor.NOTHING)])
def test_a_full_disk_fails(gib, level, remedy):
    usage = collections.namedtuple("usage", "free")
    finding = only(doctor.check_disk(usage=lambda folder: usage(gib * doctor.GIB)))
    assert finding.level == level and remedy in finding.remedy


# --- hub and mirror -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    """A hub on loopback: answers with `status` after `delay` seconds, and keeps the paths that were asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status, delay, asked = 200, 0.0, []

        def do_HEAD(self):
            self.asked.append(self.path)
            time.sleep(self.delay)
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    Handler.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.handler, server.url = Handler, f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_a_mirror_that_answers_is_read_from_the_environment(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    finding = only(doctor.check_hub())
    assert finding.level == OK and hub.url in finding.found
    assert hub.handler.asked == ["/" + doctor.HUB_FILE]


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_a_mirror_that_refuses_is_a_note_with_its_status(hub, status):
    hub.handler.status = status
    finding = only(doctor.check_hub(hub.url))
    assert finding.level == NOTE and str(status) in finding.found and "HF_ENDPOINT" in finding.remedy


def test_a_slow_mirror_is_given_up_in_time(hub):
    hub.handler.delay = 5.0
    started = time.monotonic()
    finding = only(doctor.check_hub(hub.url, timeout=0.3))
    assert finding.level == NOTE and time.monotonic() - started < 2.0


def test_a_look_up_that_hangs_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: time.sleep(5))
    started = time.monotonic()
    finding = only(doctor.check_hub("https://hub.invalid", timeout=0.3))
    assert finding.level == NOTE and "没有回答" in finding.found and time.monotonic() - started < 2.0


def test_no_network_is_a_note_that_mini_does_not_mind(hub):
    hub.shutdown()
    hub.server_close()
    finding = only(doctor.check_hub(hub.url))
    assert finding.level == NOTE and "连不上" in finding.found and "mini 不需要" in finding.remedy


def test_a_password_in_the_mirrors_address_is_not_shown(hub):
    finding = only(doctor.check_hub(hub.url.replace("//", "//me:secret@")))
    assert "secret" not in str(finding)


def test_an_endpoint_that_is_no_address_is_noted_and_not_asked(monkeypatch):
    monkeypatch.setattr(machine, "http_status", lambda *arguments: pytest.fail("asked"))
    for endpoint in ("hf-mirror", "file:///etc/passwd", "https://"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        finding = only(doctor.check_hub())
        assert finding.level == NOTE and "https://" in finding.remedy


def test_offline_by_choice_is_respected(monkeypatch):
    monkeypatch.setattr(machine, "http_status", lambda *arguments: pytest.fail("asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert only(doctor.check_hub()).level == OK


# --- data and weights ---------------------------------------------------------------------------------------------------


def test_altered_data_fails_and_names_the_file(monkeypatch):
    def altered(name):
        raise DataError(f"语料文件 {name} 与本书所用的不同：sha256 应为 a，实为 b")

    monkeypatch.setattr(sources, "read", altered)
    finding = only(doctor.check_data())
    assert finding.level == FAIL and "tag/199801.txt" in finding.found and "--force-reinstall" in finding.remedy


def weights(header=None, data=b"\0" * 8):
    header = json.dumps(header or {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {}}).encode()
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize("content, word", [
    (weights(data=b"\0" * 5), "应有"), (weights()[:20], "不是 safetensors"), (b"version https://git-lfs", "不是 safetensors"),
    (b"", "不是 safetensors"), (weights(header={"a": 1}), "不是 safetensors"), (None, "缺少 model.safetensors"),
])
def test_a_damaged_checkpoint_fails(tmp_path, content, word):
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_text("{}")
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    finding = only(doctor.check_checkpoint(tmp_path))
    assert finding.level == FAIL and word in finding.found and "git checkout" in finding.remedy


def test_a_whole_checkpoint_passes_with_the_count_that_safetensors_gives(tmp_path):
    from safetensors.numpy import load_file

    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(weights())
    assert only(doctor.check_checkpoint(tmp_path)).found.startswith("1 个张量")
    count, promised, found = machine.safetensors_sizes(profiles.CHECKPOINT / "model.safetensors")
    assert promised == found and count == len(load_file(profiles.CHECKPOINT / "model.safetensors"))


# --- the report ---------------------------------------------------------------------------------------------------------


def test_a_check_that_breaks_does_not_stop_the_others():
    def check_broken():
        raise ZeroDivisionError("boom")

    findings = list(doctor.examine([check_broken, lambda: [doctor.Finding(OK, "x", "y")]]))
    assert [finding.level for finding in findings] == [NOTE, OK] and "boom" in findings[0].found


def test_every_line_ends_with_what_to_do():
    for level in (OK, NOTE, FAIL):
        assert str(doctor.Finding(level, "内存", "1 GiB", "加内存")).endswith("→ 加内存")
    assert str(doctor.Finding(OK, "内存", "9 GiB")).endswith(doctor.NOTHING)


@pytest.mark.parametrize("level, status", [(OK, 0), (NOTE, 0), (FAIL, 1)])
def test_the_command_fails_only_where_mini_cannot_run(monkeypatch, capsys, level, status):
    monkeypatch.setattr(doctor, "examine", lambda: iter([doctor.Finding(level, "内存", "若干", "照办")]))
    assert command_line.main(["doctor"]) == status
    out = capsys.readouterr().out
    assert "照办" in out and ("不能运行" in out) == (level == FAIL)
    assert ("内存" in out.splitlines()[-1]) == (level == FAIL)


def test_the_verdict_names_what_fails_once():
    findings = [doctor.Finding(FAIL, name, "x", "y") for name in ("包 keras", "包 numpy", "字体")]
    line, fit = doctor.verdict(findings)
    assert not fit and line.count("包") == 1 and "字体" in line
