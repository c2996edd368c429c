"""Where the book is published: one file, written by `make adopt`, from which everything that names the address is made.

Until then there is no address: no link, no button, and the set-up cell says so in Colab.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .. import profiles
from ..errors import ConfigError
from ..files import write_atomically

FILE = Path("utils/assets/address.json")
COLAB = "https://colab.research.google.com"
BRANCH = "colab"  # where publication puts the Colab copies
START, END = "<!-- address: make adopt -->", "<!-- /address -->"


@dataclass(frozen=True)
class Address:
    """`repository` is "owner/name" on GitHub, or ""; `gpu_runner` the label of the runner with a GPU."""

    repository: str = ""
    gpu_runner: str = ""

    @property
    def url(self) -> str:
        """Address of the repository, or ""."""
        return f"https://github.com/{self.repository}" if self.repository else ""

    @property
    def site(self) -> str:
        """Address of the site on GitHub Pages, or ""."""
        owner, _, name = self.repository.partition("/")
        return f"https://{owner.lower()}.github.io/{name}/" if self.repository else ""

    def source(self, path: str) -> str:
        """Address of a page's source file on the default branch, or ""; `path` is below `chapters/`, with suffix."""
        return f"{self.url}/blob/HEAD/chapters/{path}" if self.repository else ""

    def colab(self, page: str) -> str:
        """Address of a page's copy in Colab, or ""; `page` is its path below `chapters/` without suffix."""
        return f"{COLAB}/github/{self.repository}/blob/{BRANCH}/{page}.ipynb" if self.repository else ""


def read(root: Path = profiles.ROOT) -> Address:
    """The address of the book; an empty one where nobody has adopted it.

    Raises:
        ConfigError: the file is damaged.
    """
    path = root / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not all(isinstance(value, str) for value in values.values()):
            raise TypeError("not text")
        return Address(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} 损坏（{error}）：请用 git 恢复它，或重新运行 make adopt") from None


def adopt(repository: str, gpu_runner: str, root: Path = profiles.ROOT) -> list[Path]:
    """Set the address, and write everything that names it: settings of the site, links of the README, set-up cells.

    Args:
        repository: "owner/name" on GitHub; "" takes the address away again.
        gpu_runner: label of the runner that executes profile `full`.
        root: the repository.

    Returns:
        The files that changed.

    Raises:
        ConfigError: this is no "owner/name", or no label.
    """
    from . import lint, template

    if repository and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+", repository):
        raise ConfigError(f"REPO={repository}：要写成 GitHub 上的 所有者/仓库，例如 REPO=someone/book")
    if bool(repository) != bool(gpu_runner) or not re.fullmatch(r"[A-Za-z0-9._-]*", gpu_runner):
        raise ConfigError(f"GPU_RUNNER={gpu_runner}：要写 GPU 运行机的标签，只用字母、数字、点和连字符")
    address = Address(repository, gpu_runner)
    texts = {
        FILE: json.dumps(vars(address)) + "\n",
        Path("_config.yml"): _settings((root / "_config.yml").read_text(encoding="utf-8"), address),
        Path("README.md"): _links((root / "README.md").read_text(encoding="utf-8"), address),
    }
    changed = []
    for name, text in texts.items():
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text:
            write_atomically(root / name, text.encode())
            changed.append(root / name)
    return changed + lint.fix(None, root, setup=template.setup_cell(address))


def _settings(text: str, address: Address) -> str:
    """`_config.yml` with the addresses of site, repository and Colab; the theme shows no button for an empty one."""
    colab = COLAB if address.repository else ""
    text = re.sub(r'(?m)^(html:\n(?:  .*\n)*?  baseurl: )"[^"]*"', rf'\g<1>"{address.site}"', text)
    text = re.sub(r'(?m)^(repository:\n(?:  .*\n)*?  url: )"[^"]*"', rf'\g<1>"{address.url}"', text)
    return re.sub(r'(?m)^(launch_buttons:\n(?:  .*\n)*?  colab_url: )"[^"]*"', rf'\g<1>"{colab}"', text)


def _links(text: str, address: Address) -> str:
    """The README with a line of links between the two marks; the marks stay, so that it can be changed again."""
    line = f"[网站 site]({address.site}) · [Colab]({address.colab('index')})" if address.repository else ""
    return re.sub(f"{re.escape(START)}.*?{re.escape(END)}", f"{START}\n{line}\n{END}" if line else f"{START}\n{END}", text, flags=re.S)
