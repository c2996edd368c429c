// Labels that the theme has no Chinese for.
const LABELS = {
  "Color mode": "明暗模式",
  "Link to this equation": "本式的链接",
  "Link to this heading": "本节的链接",
  "Main": "主目录",
  "Page": "本页目录",
  "System Settings": "跟随系统",
  "Toggle primary sidebar": "开关目录栏",
  "Toggle secondary sidebar": "开关本页目录",
  "列印成 PDF": "打印成 PDF",
};
document.addEventListener("DOMContentLoaded", () => {
  // A label that says less than the words on a button hides them from a screen reader.
  for (const element of document.querySelectorAll("summary[aria-label], .search-button-field[aria-label]")) {
    if (element.textContent.trim()) element.removeAttribute("aria-label");
  }
  // The empty corner of a table heads nothing.
  for (const cell of document.querySelectorAll(".bd-article thead th")) {
    if (!cell.textContent.trim()) cell.replaceWith(Object.assign(document.createElement("td"), { className: cell.className }));
  }
  for (const name of ["title", "aria-label", "data-bs-title"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      const label = LABELS[element.getAttribute(name)];
      if (label) element.setAttribute(name, label);
    }
  }
});

// Paper is white: a page printed in the dark would be light letters on nothing. All that is folded is printed, too.
let before = null;
addEventListener("beforeprint", () => {
  const folded = [...document.querySelectorAll(".bd-article details:not([open])")];
  before = { theme: document.documentElement.dataset.theme, folded };
  document.documentElement.dataset.theme = "light";
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  if (!before) return;
  document.documentElement.dataset.theme = before.theme;
  for (const details of before.folded) details.open = false;
  before = null;
});
