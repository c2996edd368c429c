"""The sub-commands of `python -m utils.book` that publication needs; what each needs is imported inside it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .. import profiles
from ..errors import RunError


def pin(options: argparse.Namespace) -> int:
    """Resolve models and data sets of profile `full` to commits at the hub."""
    from . import pins

    print("\n".join(pins.pin(options.update)))
    return 0


def adopt(options: argparse.Namespace) -> int:
    """Set the address of the repository and the label of the GPU runner."""
    from . import address

    for path in address.adopt(options.repository, options.gpu_runner):
        print(f"改写：{path.relative_to(profiles.ROOT)}")
    return 0


def colab(options: argparse.Namespace) -> int:
    """Write the Colab copies; push them to their branch if `--push`."""
    from . import colab_copies

    folder = profiles.ROOT / "_build" / "colab"
    print(f"{len(colab_copies.write(folder, options.tag))} 份 Colab 副本：{folder}")
    if options.push:
        print(f"分支 colab：{colab_copies.push(folder, options.push, options.tag)}")
    return 0


def publishable(options: argparse.Namespace) -> int:
    """Say what stands in the way of publication."""
    from . import publication

    faults = [*publication.moving_ref(os.environ.get("GITHUB_REF", "")), *publication.faults()]
    print("\n".join([*faults, f"不能发布：{len(faults)} 处要先解决。"] if faults else ["可以发布。"]))
    return 1 if faults else 0


def plan(options: argparse.Namespace) -> int:
    """Print the jobs of a publication for the workflow."""
    from . import publication

    print("\n".join(publication.plan()))
    return 0


def pdf(options: argparse.Namespace) -> int:
    """Print the built site as one PDF."""
    from . import pdf as printing

    path = profiles.ROOT / "_build" / "book.pdf"
    pages, figures = printing.write(path)
    print(f"{pages} 页，{figures} 幅图：{path}")
    return 0


def zip_site(options: argparse.Namespace) -> int:
    """Pack the built site so that it can be read from a folder."""
    from . import offline

    path = offline.write(profiles.ROOT / "_build" / "book.zip")
    print(f"{path.stat().st_size / 1e6:.1f} MB：{path}")
    return 0


def publish(options: argparse.Namespace) -> int:
    """Build the site from results that other machines have made, with a manifest, a zip and a PDF; check its links."""
    from . import browser, links, offline, publication, report
    from . import build as site
    from . import pdf as printing

    browser.program()  # needed at the end: where there is none, better said before the site is built
    results = publication.gather(Path(options.folder), options.profile)
    print(report.summary(results), flush=True)
    page = site.build(results, editions=site.catalogues.EDITIONS)
    publication.write_manifest(results, page.parent)
    offline.write(page.parent / "book.zip", page.parent)
    printing.write(page.parent / "book.pdf", page.parent)
    if faults := links.faults(page.parent, profiles.ROOT, {result.chapter for result in results}):
        raise RunError(f"网站里有 {len(faults)} 个链接没有去处：{'；'.join(faults[:10])}")
    print(page)
    return 0 if report.succeeded(results) else 1
