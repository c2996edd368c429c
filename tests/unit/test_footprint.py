"""Measuring in a process of its own: the result comes back, and the peak is the child's, not its parent's."""

import subprocess
import sys

import pytest

from utils import footprint
from utils.errors import RunError


def double(x):
    return 2 * x


def hold(megabytes):
    from utils import footprint

    before = footprint.resident_bytes()
    footprint.reset_peak()
    block = bytearray(megabytes * 1_000_000)
    del block
    return {"before": before / 1e6, "peak": footprint.peak_bytes() / 1e6, "four": double(2)}


def fail():
    raise ValueError("七号错误")


def sleep():
    import time

    time.sleep(60)


def test_the_result_and_the_helper_functions_reach_the_other_process():
    assert footprint.in_new_process(double, hold, arguments={"megabytes": 1})["four"] == 4


@pytest.mark.skipif(not footprint.STATUS.exists(), reason="the mark of one program is known on Linux only")
def test_the_peak_is_what_the_function_held_and_not_what_the_parent_holds():
    burden = bytearray(400_000_000)  # ru_maxrss of a child would begin here
    found = footprint.in_new_process(double, hold, arguments={"megabytes": 100})
    del burden
    assert found["before"] < 200
    assert 95 < found["peak"] - found["before"] < 150


@pytest.mark.skipif(not footprint.STATUS.exists(), reason="ru_maxrss is inherited on Linux only")
def test_the_usual_counter_inherits_the_mark_of_the_parent():
    burden = bytearray(300_000_000)
    code = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1024 * int(child.stdout) > len(burden)


def test_a_failure_and_a_timeout_are_told_in_one_line():
    with pytest.raises(RunError, match="fail 在新进程里失败：ValueError: 七号错误"):
        footprint.in_new_process(fail, arguments={})
    with pytest.raises(RunError, match="sleep 在新进程里超过 2 秒"):
        footprint.in_new_process(sleep, arguments={}, timeout=2)
