// The search page: the field, the results, the keyboard. `book_ranking.js` stands before this in the same file.

const CHINESE = document.documentElement.lang.toLowerCase().startsWith("zh");
const SAY = CHINESE ? {
  empty: "输入要找的内容：中文两个字起，也可以是英文、函数名、符号或报错信息。例如：",
  single: "只有一个字，找到的会很多；多写一个字更准。",
  symbols: "这里面没有可以查找的字。试试：",
  found: (n) => `找到 ${n} 页。`,
  part: "没有一页同时含有全部的词；下面的页含有其中一部分。",
  rest: "下面的页只含其中一部分：",
  none: (q) => `没有找到“${q}”。换一个说法，或者少写几个字；术语都列在附录 A。例如：`,
  term: "术语",
} : {
  empty: "Type what to look for: words, two or more Chinese characters, a function, a symbol or an error message. For example:",
  single: "One character finds a great deal; a second one helps.",
  symbols: "There is nothing to look for in this. Try:",
  found: (n) => `${n} pages found.`,
  part: "No page holds all of these words; the pages below hold some.",
  rest: "The pages below hold only some of these words:",
  none: (q) => `Nothing found for “${q}”. Try other or fewer words; appendix A lists the terms. For example:`,
  term: "Term",
};
const EXAMPLES = ["微调", "LoRA 参数", "enable_lora"];

/** A piece of an entry around the units, with these marked; a paragraph element. */
function excerpt(entry, units) {
  const words = units.flatMap((unit) => [unit.text, ...unit.parts]).sort((a, b) => b.length - a.length);
  const source = entry.text && (words.some((word) => entry.low[1].includes(word)) || !words.some((word) => entry.low[2].includes(word)))
    ? entry.text : entry.code;
  const low = source.toLowerCase();
  // The window that holds most of the units.
  const starts = words.map((word) => low.indexOf(word)).filter((place) => place >= 0).map((place) => Math.max(0, place - 30));
  const held = (start) => units.filter((unit) => low.slice(start, start + 130).includes(unit.text)).length;
  const start = starts.sort((a, b) => held(b) - held(a) || a - b)[0] || 0;
  const text = source.slice(start, start + 130);
  const line = document.createElement("p");
  line.className = "context";
  const pattern = new RegExp(words.map(escaped).join("|") || "(?!)", "gi");
  let done = 0;
  line.append(start ? "…" : "");
  for (const match of text.matchAll(pattern)) {
    line.append(text.slice(done, match.index), Object.assign(document.createElement("mark"), { textContent: match[0] }));
    done = match.index + match[0].length;
  }
  line.append(text.slice(done) + (start + 130 < source.length ? "…" : ""));
  return line;
}

const Search = {
  pages: null,
  book: null,
  queued: null,

  /** The index calls this, before the page is read or after; where the page has no results, nothing is done with it. */
  setIndex(pages) {
    Search.pages = pages;
    if (Search.queued !== null) Search.performSearch(Search.queued);
  },

  find(query) { return rank(query, Search.book); },

  /** Show what a query finds; before the index is there, wait for it. The name is the one that the theme calls. */
  performSearch(query) {
    Search.queued = query;
    if (!Search.pages) return;
    Search.book ??= new Book(Search.pages);
    const out = document.getElementById("search-results");
    const status = out.querySelector(".search-summary"), list = out.querySelector("ul.search");
    const say = (text, examples = false) => {
      status.replaceChildren(text);
      if (examples) for (const word of EXAMPLES) {
        const link = Object.assign(document.createElement("a"), { textContent: word, href: `?q=${encodeURIComponent(word)}` });
        status.append(link, " ");
      }
    };
    list.replaceChildren();
    if (!query.trim()) return say(SAY.empty, true);
    const { units, full, results } = Search.find(query);
    if (!units.length) return say(SAY.symbols, true);
    if (!results.length) return say(SAY.none(query.trim()), true);
    say((full ? SAY.found(full) : SAY.part) + (query.trim().length === 1 && isHan(query.trim()) ? SAY.single : ""));
    let divided = !full;
    for (const result of results) {
      if (!result.full && !result.term && !divided) {
        list.append(Object.assign(document.createElement("li"), { className: "divider", textContent: SAY.rest }));
        divided = true;
      }
      list.append(Search.item(result, units));
    }
    Search.marked = [...new Set(units.flatMap((unit) => unit.parts.length ? unit.parts : [unit.text]))].join(" ");
  },

  /** One page of the results: its title, the best entry with an excerpt, and links to up to two more. */
  item({ page, full, term, entries }, units) {
    const item = document.createElement("li");
    item.className = term ? "term" : full ? "page" : "page partial";
    const [best, ...others] = entries.map(({ entry }) => entry);
    const link = (entry, text) => Object.assign(document.createElement("a"), {
      href: `${page.name}.html${entry.anchor ? "#" + encodeURIComponent(entry.anchor) : ""}`, textContent: text });
    const name = (entry) => entry.kind === "term" ? `${SAY.term}：${entry.heading}` : entry.heading || page.title;
    item.append(link(best, best.heading && best.heading !== page.title ? `${page.title} › ${name(best)}` : page.title));
    item.append(excerpt(best, units));
    const more = others.filter((entry, i) => entry.anchor !== best.anchor && entry.heading &&
      others.findIndex(({ anchor }) => anchor === entry.anchor) === i).slice(0, 2);
    if (more.length) {
      const line = document.createElement("p");
      line.className = "more";
      more.forEach((entry) => line.append(link(entry, name(entry))));
      item.append(line);
    }
    return item;
  },

  /** Arrow keys go through the results; Escape goes back to the field. */
  onKey(event, field) {
    const links = [...document.querySelectorAll("#search-results ul.search a")];
    const place = links.indexOf(document.activeElement);
    if (event.isComposing || !(document.activeElement === field || place >= 0)) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      (place + step < 0 ? field : links[Math.min(place + step, links.length - 1)] || field).focus();
    } else if (event.key === "Escape" && place >= 0) field.focus();
  },

  init() {
    const out = document.getElementById("search-results");
    if (!out) return SphinxHighlight.highlightSearchWords();  // Sphinx's script does so only where there is no Search
    const status = Object.assign(document.createElement("p"), { className: "search-summary" });
    status.setAttribute("role", "status");
    out.replaceChildren(status, Object.assign(document.createElement("ul"), { className: "search" }));
    const query = new URLSearchParams(location.search).get("q") || "";
    for (const field of document.querySelectorAll('input[name="q"]')) field.value = query;
    const form = document.querySelector(".bd-search-container form.bd-search"), field = form && form.querySelector("input");
    let timer = 0;
    const again = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        Search.performSearch(field.value);
        try {
          history.replaceState({}, "", field.value ? `?q=${encodeURIComponent(field.value)}` : location.pathname);
        } catch { /* from a folder some browsers refuse */ }
      }, 120);
    };
    if (field) {
      field.addEventListener("input", (event) => event.isComposing || again());
      field.addEventListener("compositionend", again);
      form.addEventListener("submit", (event) => { event.preventDefault(); again(); });
      document.addEventListener("keydown", (event) => Search.onKey(event, field));
    }
    // The page that opens marks the words, as Sphinx's does.
    out.addEventListener("click", (event) => {
      if (event.target.closest("ul.search a")) localStorage.setItem("sphinx_highlight_terms", Search.marked);
    });
    Search.performSearch(query);
  },
};

_ready(Search.init);
