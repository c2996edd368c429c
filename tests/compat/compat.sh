#!/bin/sh
# Tests and three chapters with the versions that Colab ships, in an environment of its own (tests/compat/.venv).
#
#   sh tests/compat/compat.sh              what follows, all of it
#   sh tests/compat/compat.sh tests        only the tests; `chapters` only the chapters
#
# The tests are the unit tests, the lint of the notebooks, and those of sturdiness that run no book;
# TESTS="tests/unit/test_colab.py" picks others. Those that execute or build the whole book stay out: the cache of executed
# chapters goes by the lock file, and would take results of these versions for results of the locked ones.
#
# COMPAT_PYTHON=/path/to/python picks the interpreter; else Python 3.13 or 3.12 is looked for. With neither, the Python
# of .venv does, and the last line says so: then the packages are Colab's and the Python is not.
set -eu
cd "$(dirname "$0")/../.."
chapters="${CHAPTERS:-10 11 13}"
tests="${TESTS:-tests/unit tests/notebooks/test_lint.py tests/sturdiness/test_bad_*.py}"
home="${COMPAT_HOME:-tests/compat/.venv}"
note=""

if ! [ -x "$home/bin/python" ]; then
    python="${COMPAT_PYTHON:-$(.venv/bin/python -m uv python find --no-python-downloads '>=3.12,<3.14' 2>/dev/null || true)}"
    if [ -z "$python" ]; then
        for candidate in python3.13 python3.12 "${HOME:-}"/.pyenv/versions/3.13.*/bin/python3.13 "${HOME:-}"/.pyenv/versions/3.12.*/bin/python3.12; do
            if "$candidate" -c '' >/dev/null 2>&1; then python="$candidate"; break; fi
        done
    fi
    .venv/bin/python -m uv venv --quiet --python "${python:-.venv/bin/python}" "$home"
fi
# A copy of the requirements is written after the installation has succeeded: an interrupted one is done again.
if ! cat requirements.txt tests/compat/requirements.txt | cmp -s - "$home/installed.txt"; then
    echo "正在装入 Colab 的版本……"
    .venv/bin/python -m uv pip install --quiet --compile-bytecode --python "$home/bin/python" -r tests/compat/requirements.txt
    cat requirements.txt tests/compat/requirements.txt > "$home/installed.txt"
fi
case "$("$home/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" in
    3.12 | 3.13) ;;
    *) note="（没有找到 Python 3.12 或 3.13：包是 Colab 的版本，Python 不是）" ;;
esac
if [ "${1:-all}" != chapters ]; then "$home/bin/python" -m pytest -q -p no:cacheprovider $tests; fi
if [ "${1:-all}" != tests ]; then "$home/bin/python" -m utils.book.in_colab $chapters; fi
echo "Colab 的版本：通过$note"
