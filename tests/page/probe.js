"use strict";
const faults = [];
addEventListener("error", (event) => faults.push(`error: ${event.message}`));
document.addEventListener("securitypolicyviolation", (event) => faults.push(`refused by its policy: ${event.blockedURI}`));
const light = (colour) => {
  const [r, g, b] = colour.map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parts = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a = 1] = parts(getComputedStyle(at).backgroundColor);
    if (a === 1) return [r, g, b];
  }
  return [255, 255, 255];
};
const isShown = (element) => element.getClientRects().length > 0;
const measure = () => {
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) faults.push(`wider than the window: ${root.scrollWidth} of ${innerWidth}`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  let texts = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !isShown(element) || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const ink = light(parts(element instanceof SVGElement ? style.fill : style.color).slice(0, 3));
    const paper = light(behind(element));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const name = `${element.tagName}.${element.getAttribute("class")}`;
    if (contrast < 4.5 && !seen.has(name)) {
      seen.add(name);
      faults.push(`contrast ${contrast.toFixed(2)} of ${name}: ${node.data.trim().slice(0, 20)}`);
    }
  }
  if (texts < 20) faults.push(`only ${texts} texts are seen`);
  const save = document.getElementById("save");
  if (!isShown(save)) faults.push("the report can't be saved");
  // A download would keep the browser from ending: only what it would be is looked at.
  let saved = null;
  URL.createObjectURL = (blob) => ((saved = blob), "about:blank");
  HTMLAnchorElement.prototype.click = () => {};
  save.click();
  if (!saved || saved.size < 500) faults.push("nothing is saved");
  for (const svg of document.querySelectorAll("svg")) {
    if (!isShown(svg)) continue;
    const frame = svg.getBoundingClientRect();
    const labels = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [at, [text, box]] of labels.entries()) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 3 || box.bottom > frame.bottom + 1) {
        faults.push(`out of its plot: ${text}`);
      }
      if (box.height < 9) faults.push(`too small to read: ${text}`);
      for (const [other, next] of labels.slice(at + 1)) {
        const across = Math.min(box.right, next.right) - Math.max(box.left, next.left);
        const down = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
        if (across > 0.5 && down > 3) faults.push(`a text upon another: ${text} and ${other}`);
      }
    }
    if (svg.dataset.read && svg.querySelector("text")) {
      const box = svg.getBoundingClientRect();
      svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 9 }));
      if (!svg.closest("figure").querySelector(".read").textContent) faults.push("nothing is read out");
    }
  }
};
addEventListener("load", () => {
  measure();
  // A refusal by the page's policy is told a little later.
  setTimeout(() => {
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    parent.postMessage(JSON.stringify([innerWidth, isDark, faults]), "*");
  }, 200);
});
