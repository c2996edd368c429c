// What the live box does with text and labels: characters to pieces, windows, the best valid labels, and back to the text.
// The same in Python: utils/batching.py, utils/decoding.py. Shapes in comments: n characters, c labels.
"use strict";

const LiveboxText = (() => {
  // --- text -> pieces ----------------------------------------------------------------------------------------------------

  // The characters that the model reads: NFKC, as in the corpus, one piece each.
  const split = (text) => Array.from(text.normalize("NFKC"));

  const encode = (model, characters) => characters.map((c) => model.characters.get(c) ?? model.special.unk);

  // Where a text of n characters is cut: [{start, end}], neighbours overlap (utils.batching.encode_words).
  function windows({ length, overlap }, n) {
    const room = length - 2; // [CLS] and [SEP]
    const found = [];
    for (let start = 0; ; start += room - overlap) {
      found.push({ start, end: Math.min(start + room, n) });
      if (start + room >= n) return found;
    }
  }

  // The window that each character belongs to: the one in which it stands farthest from an edge (utils.batching._own_words).
  function owners(cuts, n) {
    const owner = new Array(n).fill(-1);
    const best = new Array(n).fill(-1);
    cuts.forEach(({ start, end }, index) => {
      for (let c = start; c < end; c++) {
        const left = index === 0 ? Infinity : c - start;
        const right = index === cuts.length - 1 ? Infinity : end - 1 - c;
        if (Math.min(left, right) > best[c]) [owner[c], best[c]] = [index, Math.min(left, right)];
      }
    });
    return owner;
  }

  // --- logits -> labels --------------------------------------------------------------------------------------------------

  // Viterbi's algorithm: the labels with the greatest sum among those where I-X follows B-X or I-X only.
  function decode(labels, rows) {
    if (!rows.length) return [];
    const inside = labels.map((label) => label.startsWith("I-"));
    const follows = (a, b) => !inside[b] || (labels[a] !== "O" && labels[a].slice(2) === labels[b].slice(2));
    let best = rows[0].map((score, b) => (inside[b] ? -Infinity : score));
    const before = (b) => { // the best label to come from
      let top = -1;
      labels.forEach((_, a) => { if (follows(a, b) && (top < 0 || best[a] > best[top])) top = a; });
      return top;
    };
    const origins = [];
    for (const row of rows.slice(1)) {
      const origin = labels.map((_, b) => before(b));
      best = row.map((score, b) => score + best[origin[b]]);
      origins.push(origin);
    }
    let label = best.indexOf(Math.max(...best));
    const path = [label];
    for (const origin of origins.reverse()) path.unshift((label = origin[label]));
    return path.map((id) => labels[id]);
  }

  // Labels -> [{kind, start, end}], end exclusive.
  function entities(labels) {
    const found = [];
    labels.forEach((label, i) => {
      if (label.startsWith("B-")) found.push({ kind: label.slice(2), start: i, end: i + 1 });
      else if (label.startsWith("I-")) found[found.length - 1].end = i + 1;
    });
    return found;
  }

  // --- back to what was typed --------------------------------------------------------------------------------------------

  // The text in parts [{text, kind}], kind null outside entities. Shown is what was typed (a full-width comma, say), not
  // its NFKC form, as long as every part of it has an NFKC form of its own.
  function parts(text, characters, found) {
    const units = text.match(/\P{M}\p{M}*|\p{M}+/gsu) || [];
    const forms = units.map(split);
    const whole = forms.flat().join("") === characters.join("");
    const shown = whole ? units : characters;
    const sizes = whole ? forms.map((form) => form.length) : characters.map(() => 1);
    const result = [];
    let place = 0, current;
    shown.forEach((unit, i) => {
      const entity = found.find(({ start, end }) => start < place + sizes[i] && place < end) || null;
      if (!result.length || entity !== current) result.push({ text: "", kind: entity && entity.kind });
      result[result.length - 1].text += unit;
      current = entity;
      place += sizes[i];
    });
    return result;
  }

  return { split, encode, windows, owners, decode, entities, parts };
})();

if (typeof module !== "undefined") module.exports = LiveboxText;
