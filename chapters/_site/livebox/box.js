// Puts the live box at the end of the section sec-13-live. Without JavaScript the section's text stands alone. Nothing is
// loaded before the reader asks for it; then worker.js fetches the model from this site and computes.
"use strict";

(() => {
  const PLACE = "sec-13-live";
  const LONGEST = 500; // characters: beyond it a phone would be busy for long
  const home = document.currentScript.src;
  const CHINESE = {
    label: "一句中文",
    example: "张伟和李娜昨天从上海坐火车去北京大学参观。",
    hint: "按 Enter 或按钮标出实体，Shift+Enter 换行。第一次要读入模型（不到 5 MB），以后不用。句子只在你的浏览器里处理。",
    button: "标出实体",
    kinds: { PER: "人名", LOC: "地名", ORG: "机构名" },
    empty: "先写一句话。",
    long: (n) => `最多 ${LONGEST} 字，现在有 ${n} 字：请删短一些。`,
    loading: "正在读入模型……",
    working: "正在计算……",
    found: (list) => `找到 ${list.length} 个实体：${list.join("、")}。`,
    entity: (text, kind) => `${text}（${kind}）`,
    none: "没有找到实体。",
    facts: (seconds, { test, sentences }) => `用时 ${seconds} 秒。模型用 ${sentences} 句微调；测试集上的 F1：int8 `
      + `${(100 * test.f1_int8).toFixed(1)}%，量化以前 ${(100 * test.f1).toFixed(1)}%。`,
    failed: (message) => `模型没有读进来（${message}）：请检查网络，再按一次。`,
    damaged: "模型文件不完整：请刷新这一页，再试一次。",
    worker: "这个浏览器不能运行输入框的脚本：请刷新这一页，或换一个新一些的浏览器。",
    file: "这一页是直接从文件打开的，浏览器不允许它读模型。请在首页 index.html 所在的文件夹里运行 python -m http.server，再打开 http://localhost:8000 里的这一页，这里就有输入框；有本书的仓库时，运行 make serve，打开它打印的地址。",
  };
  const ENGLISH = {
    label: "A sentence in Chinese",
    example: CHINESE.example,
    hint: "Press Enter or the button to mark entities, Shift+Enter for a new line. The first time loads the model (less than 5 MB), later times do not. The sentence stays in your browser.",
    button: "Mark entities",
    kinds: { PER: "person", LOC: "place", ORG: "organisation" },
    empty: "Write a sentence first.",
    long: (n) => `At most ${LONGEST} characters; there are ${n} now: please shorten it.`,
    loading: "Loading the model …",
    working: "Computing …",
    found: (list) => `Entities found: ${list.length}: ${list.join(", ")}.`,
    entity: (text, kind) => `${text} (${kind})`,
    none: "No entity found.",
    facts: (seconds, { test, sentences }) => `${seconds} s. Fine-tuned on ${sentences} sentences; F1 on the test set: int8 `
      + `${(100 * test.f1_int8).toFixed(1)} %, before quantisation ${(100 * test.f1).toFixed(1)} %.`,
    failed: (message) => `The model could not be loaded (${message}): check the network and try again.`,
    damaged: "The model file is incomplete: reload this page and try again.",
    worker: "This browser cannot run the script of the box: reload this page or use a newer browser.",
    file: "This page was opened from a file, and the browser does not let it read the model. Run python -m http.server in the folder of the front page, index.html, and open this page at http://localhost:8000: the box is there. With the book's repository, run make serve and open the address that it prints.",
  };
  const words = document.documentElement.lang.startsWith("en") ? ENGLISH : CHINESE;

  // element("p", {className: "hint"}, "text", child…)
  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function box() {
    const text = element("textarea", { id: "livebox-text", rows: 3, lang: "zh", value: words.example, enterKeyHint: "go" });
    text.setAttribute("aria-describedby", "livebox-hint");
    const button = element("button", { type: "submit" }, words.button);
    const progress = element("progress", { hidden: true });
    progress.setAttribute("aria-label", words.loading);
    const status = element("p", { className: "status" });
    status.setAttribute("role", "status"); // read out when it changes
    const result = element("p", { className: "result", lang: "zh", hidden: true });
    const facts = element("p", { className: "hint", hidden: true });
    const form = element("form", { className: "livebox" }, element("label", { htmlFor: "livebox-text" }, words.label), text,
      element("p", { className: "hint", id: "livebox-hint" }, words.hint), element("div", { className: "controls" }, button, progress),
      status, result, facts);
    let worker = null, loaded = false, busy = false;

    function say(message) {
      status.textContent = message;
      progress.hidden = true;
      busy = false;
      form.removeAttribute("aria-busy");
    }

    function show({ parts, facts: known, milliseconds }) {
      loaded = true;
      const marks = parts.map(({ text: piece, kind }) => (kind
        ? element("mark", { className: `kind-${kind}` }, piece, element("span", { className: "kind" }, words.kinds[kind] || kind))
        : piece));
      result.replaceChildren(...marks);
      const found = parts.filter(({ kind }) => kind).map(({ text: piece, kind }) => words.entity(piece, words.kinds[kind] || kind));
      facts.textContent = words.facts((milliseconds / 1000).toFixed(2), known);
      result.hidden = facts.hidden = false;
      say(found.length ? words.found(found) : words.none);
    }

    function start() {
      worker = new Worker(new URL("worker.js", home));
      worker.onmessage = ({ data }) => {
        if (data.progress) {
          const { received, total } = data.progress;
          if (total >= received) progress.value = received / total; // else unknown: the server packs the file
          if (received === total) status.textContent = words.working;
        } else if (data.error) {
          say(data.error.damaged ? words.damaged : words.failed(data.error.message));
        } else {
          show(data);
        }
      };
      worker.onerror = () => {
        worker = null;
        loaded = false;
        say(words.worker);
      };
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (busy) return;
      const sentence = text.value.trim(), length = Array.from(sentence).length;
      result.hidden = facts.hidden = true;
      if (!length) return say(words.empty);
      if (length > LONGEST) return say(words.long(length));
      busy = true;
      form.setAttribute("aria-busy", "true");
      progress.hidden = loaded;
      status.textContent = loaded ? words.working : words.loading;
      if (!worker) start();
      worker.postMessage({ model: new URL("model.safetensors", home).href, text: sentence });
    });
    text.addEventListener("keydown", (event) => {
      // An input method uses Enter for itself while it composes (229: Safari says so only there).
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      form.requestSubmit();
    });
    return form;
  }

  function put() {
    const section = document.getElementById(PLACE);
    if (!section) return;
    section.append(location.protocol === "file:" ? element("p", { className: "livebox", role: "note" }, words.file) : box());
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", put);
  else put();
})();
