// Labels that the theme has no Chinese for.
const LABELS = {
  "Color mode": "明暗模式",
  "Link to this equation": "本式的链接",
  "Link to this heading": "本节的链接",
  "Main": "主目录",
  "Page": "本页目录",
  "System Settings": "跟随系统",
  "Toggle hidden content": "展开或收起",
  "Toggle primary sidebar": "开关目录栏",
  "Toggle secondary sidebar": "开关本页目录",
  "列印成 PDF": "打印成 PDF",
};
document.addEventListener("DOMContentLoaded", () => {
  for (const name of ["title", "aria-label", "data-bs-title"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      const label = LABELS[element.getAttribute(name)];
      if (label) element.setAttribute(name, label);
    }
  }
});
