#!/bin/sh
# `make bench`: the book's environment seen through one that adds torch, then the benchmarks. Run from the repository's root.
set -eu
python=tests/benchmarks/.venv/bin/python
test -x "$python" || .venv/bin/python -m venv tests/benchmarks/.venv
"$python" tests/benchmarks/environment.py .venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check -r tests/benchmarks/requirements.txt
exec "$python" -m tests.benchmarks "$@"
