#!/bin/sh
# `make museum`: an environment of its own with the article's libraries, then its recipe once. Run from the repository's root.
set -eu
python=tests/museum/.venv/bin/python
test -x "$python" || .venv/bin/python -m venv tests/museum/.venv
"$python" -m pip install --quiet --disable-pip-version-check -r tests/museum/requirements.txt
exec "$python" tests/museum/museum.py "$@"
