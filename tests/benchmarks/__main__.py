"""`make bench`: all benchmarks with their defaults, or one of them: `make bench OPTIONS="prediction --help"`."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("ner_training", "prediction", "book")


def main(arguments: list[str]) -> int:
    names = [arguments[0].removesuffix(".py")] if arguments else list(NAMES)
    if not set(names) <= set(NAMES):
        print(f"没有名为 {names[0]} 的测速；可选：{'、'.join(NAMES)}", file=sys.stderr)
        return 2
    return max(subprocess.call([sys.executable, "-m", f"tests.benchmarks.{name}", *arguments[1:]]) for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
