"""Style and script of the report. The script only reads text, and creates no markup."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2024;--soft:#5c6570;--line:#d9dee3;--card:#f7f8fa;
--first:#1f6fb2;--second:#c2792a;--faint:#b9c0c7;--mark:#ffe08a;--other:#dcebf7;--bad:#b3261e;--good:#1d7a3d}
@media (prefers-color-scheme:dark){:root{--ground:#14171a;--ink:#e6e9ec;--soft:#a0a8b0;--line:#333a41;--card:#1c2126;
--first:#6db3ee;--second:#e5a65b;--faint:#4a535c;--mark:#7a5c00;--other:#20405a;--bad:#ff8a80;--good:#7ddc9a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:1rem;background:var(--ground);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem}
.soft,.gap{color:var(--soft)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0;padding:0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.5rem .8rem}
.figures dt{font-size:.85rem;color:var(--soft)}
.figures dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
.figures small{display:block;font-size:.8rem;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}
.charts figure{margin:0}.charts svg{width:100%;height:auto}figcaption{font-weight:600}
.bar{position:sticky;top:0;z-index:1;background:var(--ground);border-bottom:1px solid var(--line);padding:.6rem 0;
display:flex;flex-wrap:wrap;gap:.4rem;align-items:center}
input,button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:.4rem;
padding:.35rem .7rem}
input{flex:1 1 12rem;min-width:0}button[aria-pressed=true]{background:var(--first);color:var(--ground)}
:focus-visible{outline:3px solid var(--first);outline-offset:1px}
article{border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem;margin:.8rem 0;background:var(--card)}
article[hidden],.bar[hidden]{display:none}
article h3{margin:0;font-size:1rem}article p,article ol{margin:.4rem 0}ol{padding-inline-start:1.6rem}
.context{white-space:pre-wrap;border-inline-start:3px solid var(--line);padding-inline-start:.7rem}
mark{background:var(--mark);color:inherit;border-radius:.2rem}mark.other{background:var(--other)}
.wrong{color:var(--bad)}.right{color:var(--good)}.tags{font-size:.85rem;color:var(--soft)}
@media print{.bar{display:none}article{break-inside:avoid}body{max-width:none}:root{color-scheme:light;--ground:#fff;
--ink:#000;--card:#fff;--soft:#444;--line:#bbb;--mark:#ffe08a;--other:#dcebf7;--first:#1f6fb2;--second:#c2792a}}
"""

SCRIPT = """
"use strict";
(() => {
  const cards = [...document.querySelectorAll("article")];
  const texts = cards.map((card) => card.textContent.toLowerCase());
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const buttons = [...document.querySelectorAll("button[data-group]")];
  let group = "";
  const show = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let visible = 0;
    cards.forEach((card, i) => {
      const inGroup = !group || card.dataset.groups.split(" ").includes(group);
      card.hidden = !(inGroup && words.every((word) => texts[i].includes(word)));
      visible += card.hidden ? 0 : 1;
    });
    count.textContent = `${visible} of ${cards.length} shown`;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.group === group)));
  };
  search.addEventListener("input", show);
  buttons.forEach((button) => button.addEventListener("click", () => { group = button.dataset.group; show(); }));
  const step = (by) => {
    const visible = cards.filter((card) => !card.hidden);
    const at = visible.indexOf(document.activeElement);
    const next = visible[Math.min(visible.length - 1, Math.max(0, at + by))];
    if (next) { next.focus(); next.scrollIntoView({ block: "center" }); }
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { search.value = ""; group = ""; show(); search.blur(); return; }
    if (event.target === search) return;
    if (event.key === "/") { event.preventDefault(); search.focus(); }
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });
  document.querySelector(".bar").hidden = false;
  show();
})();
"""
