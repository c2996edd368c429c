"""Let this interpreter see the packages of another environment behind its own: `environment.py OTHER_PYTHON`.

So the benchmarks run the very TensorFlow, Keras and transformers of the book, and only torch is installed anew.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

PROGRAM = "import sysconfig; print(sysconfig.get_path('purelib'))"


def main(other: str) -> None:
    folder = subprocess.run([other, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.strip()
    Path(sysconfig.get_path("purelib"), "book.pth").write_text(folder + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
