"""JavaScript that looks over a page: names of controls, contrast of texts (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

VISIBLE_BUTTONS = """() => [...document.querySelectorAll("button[id]")]
  .filter((b) => b.offsetParent && !b.disabled && b.getAttribute("role") !== "tab").map((b) => b.id)"""
UNNAMED = """() => {
  const named = (e) => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.title || e.innerText?.trim()
    || (e.labels && [...e.labels].some((l) => l.innerText.trim())) || e.closest("label")?.innerText.trim();
  return [...document.querySelectorAll("button, input, textarea, select, a, [role=tab]")]
    .filter((e) => e.offsetParent && e.type !== "file" && !named(e)).map((e) => e.outerHTML.slice(0, 200));
}"""
FAINT = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return c.startsWith("color(srgb") ?
    [m[0] * 255, m[1] * 255, m[2] * 255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
    return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const over = (top, under) => top.slice(0, 3).map((v, k) => v * top[3] + under[k] * (1 - top[3])).concat(1);
  const ground = (e) => { const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((u, t) => over(t, u), [255, 255, 255, 1]); };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.offsetParent || e.closest("[disabled], svg, [aria-hidden=true]")) continue;
    const box = e.getBoundingClientRect(); if (box.width < 2 || box.height < 2) continue;
    const g = ground(e), c = over(parse(getComputedStyle(e).color), g);
    const [a, b] = [light(c), light(g)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.push([ratio.toFixed(2), e.className, e.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""
