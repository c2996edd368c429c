"""Sites to look at: the real one, and a small one whose content the tests know."""

import pathlib
import shutil
import subprocess
import sys
import threading

import nbformat
import pytest
import yaml

from tests.tools import lacking, needed
from utils.book import build, editions, serve, template
from utils.book import stage as staging
from utils.book.browser import PROGRAMS
from utils.book.results import ChapterResult

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")

# Pages of the small site, for the search: names and texts.
TEXTS = {
    "both": "先读入 BERT 模型，再训练；词元要对齐。",
    "model": "这个模型很小，不是那一种。命名实体识别看这里。",
    "bert": "BERT 由别人发布。实体与命名都要分开写。",
    "lora": "LoRA 参数只占很小一份，F1 也要报告。Transformers 是一个库。",
    "parameters": "参数越多越慢。标记 token 与 attention_mask 见下。",
}
MATH = r"""(sec-10-math)=
## 公式

损失写作 $L = -\log p$，（概率记作 $p$）。完整的式子是

$$
L(\theta) = -\frac{1}{N}\sum_{i=1}^{N}\left[y_i\log\hat y_i+(1-y_i)\log(1-\hat y_i)\right]+\frac{\lambda}{2}\lVert\theta\rVert^2+\alpha+\beta+\gamma+\delta+\epsilon+\zeta
$$ (eq-10-loss)

$$
z_1+z_2+z_3+z_4+z_5+z_6+z_7+z_8+z_9+z_{10}+z_{11}+z_{12}+z_{13}+z_{14}+z_{15}+z_{16}+z_{17}+z_{18} = 1 \tag{10.2}
$$

见式 {eq}`eq-10-loss` 与 {cite}`kingma2015adam`。

> **勘误**：原文少写了一项。

| 方法 | 实体 F1（测试集，严格匹配） | 训练的参数量（百万） | 每个词元的用时（毫秒） |
|---|---|---|---|
| 编码器 | 一 | 二 | 三 |"""


class SmallBook:
    """A book of one front page, one chapter and five texts, in a folder of its own."""

    page = "2-mathematics/10-cross-entropy"

    def __init__(self, root: pathlib.Path, real: pathlib.Path) -> None:
        self.root = root
        for name in ("_config.yml", "chapters/references.bib"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(real / name, root / name)
        for name in ("_site", "appendix"):
            shutil.copytree(real / "chapters" / name, root / "chapters" / name)
        texts = root / "chapters" / "texts"
        texts.mkdir()
        for name, text in TEXTS.items():
            (texts / f"{name}.md").write_text(f"# 第 {list(TEXTS).index(name)} 页\n\n{text}\n", encoding="utf-8")
        (root / "chapters" / "index.md").write_text("# 小书\n\n首页。\n", encoding="utf-8")
        toc = {"format": "jb-book", "root": "index", "parts": [
            {"caption": "数学", "chapters": [{"file": self.page}]},
            {"caption": "文字", "chapters": [{"file": f"texts/{name}"} for name in TEXTS]},
            {"caption": "附录", "chapters": [{"file": "appendix/references"}]}]}
        (root / "_toc.yml").write_text(yaml.safe_dump(toc, allow_unicode=True), encoding="utf-8")
        self.notebook = template.chapter(10, "交叉熵与梯度推导")
        self.notebook.cells.insert(6, nbformat.v4.new_markdown_cell(MATH, id="math"))
        self.source = root / "chapters" / f"{self.page}.ipynb"
        self.source.parent.mkdir(parents=True)
        self.save()

    def save(self) -> None:
        self.source.write_text(template.canonical(self.notebook), encoding="utf-8")

    def result(self, **changes) -> ChapterResult:
        """A run of the chapter as the runner reports it; every code cell has printed its id."""
        executed = nbformat.reads(template.canonical(self.notebook), as_version=4)
        for count, cell in enumerate((cell for cell in executed.cells if cell.cell_type == "code"), start=1):
            cell.execution_count = count
            result = {"text/plain": "f1 = 0.5", "application/vnd.book.result+json": {"name": "f1", "value": 0.5, "band": None}}
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"printed by {cell.id} " + "长 " * 90),
                            nbformat.v4.new_output("display_data", data=result)]
        path = self.root / "executed.ipynb"
        nbformat.write(executed, path)
        facts = {"executed": path, "status": "ok", "seconds": 72.0, "peak_memory_mb": 1536.0,
                 "run_at": "2026-11-24T08:00:00+00:00"}
        return ChapterResult(chapter=self.page, source=self.source, **{**facts, **changes})

    def build(self, **changes) -> pathlib.Path:
        return build.build([self.result(**changes)], self.root)


@pytest.fixture
def book(tmp_path, root) -> SmallBook:
    """A small book of this test's own, not built yet."""
    return SmallBook(tmp_path, root)


@pytest.fixture(scope="session")
def small_site(tmp_path_factory, root) -> pathlib.Path:
    """Folder of the built small book."""
    return SmallBook(tmp_path_factory.mktemp("small"), root).build().parent


@pytest.fixture(scope="session")
def real_build(root) -> subprocess.CompletedProcess:
    """The command that builds the real site; chapters that are in the runner's cache are not executed again."""
    return subprocess.run([sys.executable, "-m", "utils.book", "build"], cwd=root, capture_output=True, text=True)


@pytest.fixture(scope="session")
def real_site(real_build, root) -> pathlib.Path:
    """Folder of the real site; it is built even if a chapter fails, and then says so on the chapter's page."""
    site = root / "_build" / "html"
    said = f"{real_build.stdout[-3000:]}\n{real_build.stderr[-3000:]}"
    assert real_build.stdout.rstrip().endswith(str(site / "index.html")), f"python -m utils.book build 没有建成网站：\n{said}"
    return site


@pytest.fixture(scope="session")
def english_site(real_site, root, tmp_path_factory) -> pathlib.Path:
    """Folder in which the English edition lies in `en`, beside the real Chinese pages."""
    folder = tmp_path_factory.mktemp("english")
    shutil.copytree(root / "_build" / "stage", folder / "stage")
    editions.localise(staging.Stage(folder / "stage"), "en", root)
    build.run_jupyter_book(folder / "stage", folder / "work", folder / "site.log")
    together = folder / "html"
    together.mkdir()
    for path in real_site.iterdir():
        if path.name != "en":
            (together / path.name).symlink_to(path)
    (folder / "work" / "_build" / "html").rename(together / "en")
    return together


@pytest.fixture(scope="session", params=["small_site", "real_site"])
def site(request) -> pathlib.Path:
    """Both sites, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def browser():
    """A browser of the system. A person without one skips these tests; in CI that is a failure."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        lacking(f"没有浏览器（{'、'.join(PROGRAMS)}），网站测试跳过；Debian：apt-get install chromium")
    playwright = needed("playwright.sync_api")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=program, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def address():
    """A function that serves a folder on loopback and returns its address."""
    running = {}

    def start(folder: pathlib.Path) -> str:
        if folder not in running:
            running[folder] = serve.server(0, folder)
            threading.Thread(target=running[folder].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[folder].server_port}"

    yield start
    for server in running.values():
        server.shutdown()
        server.server_close()


FAINT = """selector => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();  // code has thousands of words, and few colours
  const over = (colour, ground) => { const key = `${colour} on ${ground}`; if (!known.has(key)) {
      canvas.fillStyle = `rgb(${ground})`; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
      known.set(key, [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)); }
    return known.get(key); };
  const ground = e => e ? over(getComputedStyle(e).backgroundColor, ground(e.parentElement)) : [255, 255, 255];
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const shown = [...document.querySelectorAll(selector)].filter(e => e.innerText && e.innerText.trim() && e.checkVisibility());
  if (!shown.length) throw new Error(`nothing to measure: ${selector}`);
  return shown.map(e => { const under = ground(e);
      const [a, b] = [light(over(getComputedStyle(e).color, under)), light(under)].sort((x, y) => y - x);
      return [(a + .05) / (b + .05), e.className || e.tagName, e.innerText.slice(0, 20)]; })
    .filter(([contrast]) => contrast < 4.5); }"""


def faint(page, selector: str) -> list:
    """[contrast, class or tag, text] of the visible elements whose text has a contrast below 4.5 (WCAG AA)."""
    return page.evaluate(FAINT, selector)
