// How the search ranks: see book_search.py for the index. It is a list of pages, [name, title, entries], and an entry is
// [anchor, heading, text, code, kind, page]. A query is cut into units: runs of Chinese characters and Latin words.
"use strict";

const HAN = "\\u3400-\\u4dbf\\u4e00-\\u9fff";
const ASKING = /什么是|是什么|为什么|什么|怎么样|怎么办|怎么|怎样|如何|请问|哪些|哪个|哪里|是不是|能不能|有没有|多少|[吗呢吧啊呀的了]/g;
const AROUND = /^['"“”‘’`«»《》「」(（,，.。:：;；?？!！、…]+|['"“”‘’`«»《》「」)）,，.。:：;；?？!！、…]+$/g;
const SMALL = new Set("a an and are cannot do for from how in is it not of on or the to what why with".split(" "));
const LATER = { term: 0, symbol: 0, lead: 1, section: 1 };  // kinds that a heading must match as a whole
const APPENDIX = /^(appendix\/|index$)/;

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\\/-]/g, "\\$&");
const joined = (text) => text.toLowerCase().replace(/[\s\-_]+/g, "");
const isHan = (text) => new RegExp(`^[${HAN}]`).test(text);

/** The text of the book in lower case, made once. */
class Book {
  constructor(pages) {
    this.pages = pages.map(([name, title, entries]) => ({ name, title, low: title.toLowerCase() }));
    this.entries = pages.flatMap(([, , entries], page) => entries.map(([anchor, heading, text, code, kind, target]) => ({
      page, anchor, heading, text, code, kind, target,
      names: kind === "term" ? heading.split("；").map(joined) : [],
      low: [heading.toLowerCase(), text.toLowerCase(), code.toLowerCase()],
    })));
    this.all = this.entries.map((entry) => entry.low.join("\n")).join("\n");
    this.chapterOf = new Map();  // name of a term -> number of the page that explains it
    this.others = new Map();  // name of a term -> its other names
    this.written = new Map();  // name of a term without spaces -> as it is written
    for (const entry of this.entries.filter(({ kind }) => kind === "term")) {
      const page = this.pages.findIndex(({ name }) => name === entry.target), names = entry.low[0].split("；");
      for (const name of names) {
        if (page >= 0) this.chapterOf.set(joined(name), page);
        this.written.set(joined(name), name);
        this.others.set(joined(name), names.filter((other) => other !== name && other.length > 1));
      }
    }
  }

  has(text) { return this.all.includes(text); }
  times(text) { return this.all.split(text).length - 1; }

  /** Cut a run of Chinese characters where a pair is much rarer than its neighbours: between two words. */
  parts(run) {
    const counts = [...Array(run.length - 1).keys()].map((i) => this.times(run.slice(i, i + 2)));
    const parts = [];
    let start = 0;
    counts.forEach((count, i) => {
      const around = Math.min(counts[i - 1] ?? Infinity, counts[i + 1] ?? Infinity);
      if (count === 0 || (around < Infinity && count < 0.3 * around)) { parts.push(run.slice(start, i + 1)); start = i + 1; }
    });
    return [...parts, run.slice(start)].filter((part) => part.length > 1);
  }
}

/** Cut a query into units {text, parts, needed, pattern}. */
function unitsOf(query, book) {
  const clean = query.normalize("NFKC").toLowerCase().trim();
  const units = [];
  const add = (text, parts, needed = true) => {
    if (!units.some((unit) => unit.text === text)) units.push({ text, parts, needed });
  };
  const latin = (word) => {
    if (book.has(word)) return add(word, []);
    const smaller = word.split(/[.\-_']/).filter((piece) => piece);
    if (smaller.length > 1) return smaller.forEach(latin);
    const stem = word.replace(/(es|s)$/, "");
    add(word.length > 3 && stem !== word && book.has(stem) ? stem : word, []);
  };
  const token = new RegExp(`[${HAN}]+|(?:(?![${HAN}])[\\p{L}\\p{N}_])+(?:[.\\-'](?:(?![${HAN}])[\\p{L}\\p{N}_])+)*`, "gu");
  for (const chunk of clean.split(/\s+/).map((piece) => piece.replace(AROUND, "")).filter((piece) => piece)) {
    const found = chunk.match(token);
    if (!found) { if (book.has(chunk)) add(chunk, []); continue; }
    if (found.length === 1 && found[0] !== chunk && !isHan(found[0]) && book.has(chunk)) { add(chunk, []); continue; }
    for (const run of found) {
      if (!isHan(run)) { latin(run); continue; }
      const asked = run.split(ASKING).filter((piece) => piece && piece.length > 1);
      const parts = (asked.length ? asked : run.length > 2 ? [] : [run]).flatMap((piece) => book.parts(piece));
      if (run.length === 1) add(run, []);
      else if (book.has(run) && (!parts.length || parts.join("") === run)) add(run, parts.length > 1 ? parts : []);
      else if (!parts.length) add(run, [], false);
      else {
        if (book.has(run)) add(run, [], false);
        parts.forEach((part) => add(part, book.has(part) ? [] : pairs(part)));
      }
    }
  }
  const words = units.filter((unit) => !SMALL.has(unit.text));
  const kept = merged(words.length ? words : units, book);
  if (!kept.some((unit) => unit.needed)) kept.forEach((unit) => { unit.needed = true; });
  for (const unit of kept) {
    unit.pattern = patternOf(unit.text);
    unit.others = (book.others.get(joined(unit.text)) || []).map((text) => ({ text, pattern: patternOf(text) }));
  }
  return kept;
}

/** Units that together are the name of a term become one: "gradient clipping". */
function merged(units, book) {
  for (let size = units.length; size > 1; size--) {
    for (let i = 0; i + size <= units.length; i++) {
      const group = units.slice(i, i + size), text = book.written.get(joined(group.map((unit) => unit.text).join("")));
      if (text) return [...merged(units.slice(0, i), book), { text, parts: group.map((unit) => unit.text), needed: true },
        ...merged(units.slice(i + size), book)];
    }
  }
  return units;
}

const pairs = (run) => [...Array(run.length - 1).keys()].map((i) => run.slice(i, i + 2));

/** Latin words must begin where a word begins, unless they are long; the first group says whether one ends there too. */
function patternOf(text) {
  const word = /^[a-z0-9_]/.test(text);
  return new RegExp(`${word ? "(?<![a-z0-9])" : ""}${escaped(text)}${word ? "(?![a-rt-z0-9]|s[a-z0-9])()?" : "()"}`, "g");
}

/** How often a text holds a unit; another name of the same term counts a little less. */
function count(text, unit) {
  return unit.others.reduce((sum, other) => sum + 0.4 * occurrences(text, other), occurrences(text, unit));
}

/** Whole words count one, beginnings and insides of words less. */
function occurrences(text, unit) {
  if (!text.includes(unit.text)) return 0;
  const whole = (text.match(unit.pattern) || []).length;
  if (whole || !/^[a-z0-9_]/.test(unit.text)) return whole;
  const begins = new RegExp(`(?<![a-z0-9])${escaped(unit.text)}`, "g");
  const begun = (text.match(begins) || []).length;
  if (begun) return unit.text.length > 2 ? 0.4 * begun : 0;
  return unit.text.length > 3 ? 0.3 * (text.split(unit.text).length - 1) : 0;
}

const enough = (times, half) => times / (times + half);

/** Pages that hold the units, best first: {page, full, score, entries}. */
function rank(query, book) {
  const units = unitsOf(query, book);
  if (!units.length) return { units, results: [] };
  const whole = joined(query.normalize("NFKC")), core = joined(units.map((unit) => unit.text).join(""));
  const together = units.slice(1).map((unit, u) => new RegExp(`${escaped(units[u].text)}[\\s\\-_的]*${escaped(unit.text)}`));
  const pages = book.pages.map((page) => ({
    page, score: 0, entries: [], term: null, units: units.map(() => ({ times: [0, 0, 0], heading: 0, parts: new Set() })),
  }));
  const hits = book.entries.map((entry) => units.map((unit) => entry.low.map((text) => count(text, unit))));
  const held = units.map((_, u) => hits.filter((hit) => hit[u].some((times) => times)).length);
  const rarity = held.map((n) => Math.log(1 + book.entries.length / (1 + n)) / Math.log(1 + book.entries.length));

  book.entries.forEach((entry, e) => {
    const page = pages[entry.page];
    let score = 0, all = true, headed = 0;
    units.forEach((unit, u) => {
      const [heading, text, code] = hits[e][u], state = page.units[u];
      hits[e][u].forEach((times, part) => { state.times[part] += times; });
      const here = unit.parts.filter((part) => entry.low.some((low) => low.includes(part)));
      here.forEach((part) => state.parts.add(part));
      const share = heading ? Math.min(1, unit.text.length / Math.max(1, shortest(entry, unit.text))) : 0;
      const inside = 2.5 * (heading ? 0.4 + share : 0) * (1 - 0.4 * LATER[entry.kind] * (share < 0.2)) +
        2 * enough(text, 2) + 0.7 * enough(code, 2) + (here.length && here.length === unit.parts.length ? 1 : 0);
      state.heading = Math.max(state.heading, heading ? 0.4 + share : 0);
      if (!inside && unit.needed) all = false;
      headed += heading ? rarity[u] : 0;
      score += rarity[u] * inside;
    });
    if (!score) return;
    if (all && units.length > 1) score += 1;
    if (units.length > 1) score += 2 * Math.max(0, headed - 0.5);
    together.forEach((pattern, u) => {  // neighbours in the query that are neighbours here
      const worth = pattern.test(entry.low[0]) ? 2.5 : pattern.test(entry.low[1]) ? 1.2 : 0;
      score += worth * Math.max(rarity[u], rarity[u + 1]);
    });
    if (entry.names.some((name) => name === whole || name === core)) page.term = entry;
    page.entries.push({ entry, score });
  });

  const explained = units.map((unit) => book.chapterOf.get(joined(unit.text)));
  const explains = book.chapterOf.get(core) ?? book.chapterOf.get(whole);
  for (const [number, page] of pages.entries()) {
    let found = 0, needed = 0;
    page.units.forEach((state, u) => {
      const unit = units[u], [heading, text, code] = state.times;
      const some = heading + text + code > 0;
      const share = some ? 1 : unit.parts.length ? state.parts.size / unit.parts.length : 0;
      const title = page.page.low.includes(unit.text) ? 0.5 + unit.text.length / page.page.low.length : 0;
      page.score += rarity[u] * (share < 1 || !some ? 0.8 * share
        : 3 * title + 2 * state.heading + 3 * enough(text, 6) + enough(code, 6));
      if (explained[u] === number) page.score += rarity[u] * 1.5;
      if (unit.needed) { needed += rarity[u]; found += share === 1 ? rarity[u] : 0.5 * share * rarity[u]; }
    });
    if (explains === number) page.score += 3;
    page.entries.sort((a, b) => b.score - a.score);
    page.full = found > 0.999 * needed;
    page.share = needed ? found / needed : 1;
    page.score += page.entries.length ? page.entries[0].score : 0;
    if (APPENDIX.test(page.page.name)) page.score *= 0.85;
    if (page.term) page.entries.unshift({ entry: page.term, score: Infinity });
  }
  const order = (a, b) => Boolean(b.term) - Boolean(a.term) || b.full - a.full ||
    (a.full ? b.score - a.score : b.share - a.share || b.score - a.score);
  const results = pages.filter((page) => page.entries.length && (page.full || page.share >= 0.3)).sort(order);
  const full = results.filter((page) => page.full).length;
  return { units, full, results: results.slice(0, Math.max(full, 15)) };
}

/** Length of the shortest of an entry's headings that holds a unit (a term has several names). */
function shortest(entry, text) {
  const holding = entry.low[0].split("；").filter((name) => name.includes(text));
  return Math.min(...holding.map((name) => name.length));
}
