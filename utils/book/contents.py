"""The table of contents, `_toc.yml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .. import profiles
from ..errors import RunError


def read(root: Path = profiles.ROOT) -> dict[str, Any]:
    """The table of contents: "root" is a page, each of the "parts" has a "caption" and "chapters", each with a "file".

    Raises:
        RunError: `_toc.yml` is missing or damaged.
    """
    try:
        toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
        names = [*files(toc), *(part["caption"] for part in toc.get("parts") or [])]
        if not all(isinstance(name, str) and name.isprintable() for name in names):
            raise TypeError("a page or a part that is no text")
    except FileNotFoundError:
        raise RunError(f"{root} 里没有 _toc.yml：请用 git 恢复它") from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RunError(f"_toc.yml 读不懂（{type(error).__name__}: {reason}）：请用 git 恢复它") from None
    return toc


def files(toc: dict[str, Any]) -> list[str]:
    """All pages of a table of contents, in its order, the front page first."""
    return [toc["root"], *(entry["file"] for part in toc.get("parts") or [] for entry in part["chapters"])]
