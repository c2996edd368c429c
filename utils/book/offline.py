"""The whole site as one zip that opens from a folder: equal sites give equal bytes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from .. import profiles
from ..errors import RunError
from ..files import write_atomically
from .catalogues import EDITIONS

SITE = profiles.ROOT / "_build" / "html"
FOLDER = "book"  # what the zip unpacks to
# Of no use in a folder; left out of the site and of each edition in it.
LEFT_OUT = {".book-stamp", ".buildinfo", "objects.inv", "sitemap.xml", "book.zip", "book.pdf"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of the format: when a site was built says nothing about it


def write(path: Path, site: Path = SITE) -> Path:
    """Pack a built site; an existing file is replaced in one step.

    Args:
        path: the zip.
        site: folder of the built site.

    Returns:
        `path`.

    Raises:
        RunError: there is no site.
    """
    if not (site / "index.html").is_file():
        raise RunError(f"{site} 里还没有网站：请先运行 make book。")
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(site.rglob("*")):
            name = file.relative_to(site)
            inside = name.relative_to(name.parts[0]) if name.parts[0] in EDITIONS else name
            if file.is_file() and inside.as_posix() not in LEFT_OUT:
                entry = zipfile.ZipInfo(f"{FOLDER}/{name.as_posix()}", EPOCH)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, file.read_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, memory.getvalue())
    return path
