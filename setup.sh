#!/bin/sh
# Make .venv and install the locked packages into it; nothing happens if that is already done.
#
#   sh setup.sh          what the book needs
#   sh setup.sh tests    what the tests need as well
#
# PYTHON=/path/to/python picks the interpreter; else python3.13, 3.12, 3.11 and python3 are tried in this order.
# A copy of a lock is written into .venv after its installation has succeeded: an interrupted installation is
# therefore done again, and an unchanged lock is not installed twice.
set -eu
cd "$(dirname "$0")"

# TensorFlow has wheels for 3.11 to 3.13 only; a Python split into packages may lack venv's ensurepip.
usable='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c "$usable" >/dev/null 2>&1 && printf '%s\n' "$PYTHON" && return
        echo "PYTHON=$PYTHON 不能用：需要带 venv 的 Python 3.11、3.12 或 3.13。(PYTHON must be Python 3.11 to 3.13 with venv.)" >&2
        return 1
    fi
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        # Running it is the test: a pyenv shim may exist on PATH and still refuse to run.
        "$candidate" -c "$usable" >/dev/null 2>&1 && printf '%s\n' "$candidate" && return
    done
    echo "没有找到可用的 Python：请安装 Python 3.13（或 3.11、3.12；Debian/Ubuntu 还要 python3-venv）；TensorFlow 没有 3.14 的安装包。(Install Python 3.11 to 3.13, with venv.)" >&2
    return 1
}

refused() { # what has failed; the tool's own message stands above
    if [ -w . ] && { [ ! -e .venv ] || [ -w .venv ]; }; then
        echo "$1，原因在上面；没有写明就多半是磁盘满了：请在 $PWD 所在的磁盘腾出空间（要 5 GB），再运行一次。(See above; else the disk of this folder is full.)" >&2
    else
        echo "$1：$PWD 不能写，它是只读的，或者没有权限；请把书放在能写的文件夹里，再运行一次。(This folder cannot be written.)" >&2
    fi
    exit 1
}

install() { # lock, copy of it in .venv
    cmp -s "$1" "$2" && return
    rm -f "$2" || refused "没有删掉旧的 $2"
    if [ "$(uname -sm 2>/dev/null)" = "Darwin x86_64" ]; then
        echo "这是 Intel 芯片的 Mac：TensorFlow 没有给它的安装包，请换 Apple 芯片的 Mac、Linux 或 Colab；Apple 芯片上请不要用 Rosetta 的终端与 Python。(TensorFlow has no wheel for Macs with Intel.)" >&2
        exit 1
    fi
    echo "正在把 $1 装入 .venv，第一次要下载较多内容……"
    .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r "$1" || {
        [ -w .venv ] || refused "包没有装进 .venv"
        echo "包没有装好，原因在上面：请检查网络（下载慢或被拦时，用环境变量 PIP_INDEX_URL 指向就近的镜像）和磁盘（要 5 GB），再运行一次，下载过的不再下载。(Installation failed: check network, PIP_INDEX_URL and disk, then run it again.)" >&2
        exit 1
    }
    cp "$1" "$2" || refused "包装好了，但没有写成 $2"
}

# A usable .venv is kept; a broken or half-made one, or one of another Python, is made again.
if ! .venv/bin/python -c "$usable" >/dev/null 2>&1 || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "正在用 $("$python" --version) 建立 .venv……"
    "$python" -m venv --clear .venv || refused "没有建成 .venv"
fi
install requirements.lock .venv/installed-requirements.lock
if [ "${1:-}" = tests ]; then
    install tests/requirements.lock .venv/installed-tests-requirements.lock
fi
