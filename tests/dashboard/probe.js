(() => {
  // What is wrong with the page as it is shown now, for people who read it in whatever way.
  const faults = [];
  const isShown = (element) => element.getClientRects().length > 0;
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => ((part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
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
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) faults.push(`wider than the window: ${root.scrollWidth} of ${innerWidth}`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  let texts = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !isShown(element) || element.closest(".hidden, .skip")) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const ink = light(parts(style.color).slice(0, 3));
    const paper = light(behind(element));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const name = `${element.tagName}.${element.className}`;
    if (contrast < 4.5 && !seen.has(name)) {
      seen.add(name);
      faults.push(`contrast ${contrast.toFixed(2)} of ${name}: ${node.data.trim().slice(0, 20)}`);
    }
    if (parseFloat(style.fontSize) < 12) faults.push(`too small: ${node.data.trim().slice(0, 20)}`);
    const box = element.getBoundingClientRect();
    if (!element.closest(".scroll") && box.right > innerWidth + 1) faults.push(`out of the window: ${node.data.trim().slice(0, 30)}`);
    if (element.scrollWidth > element.clientWidth + 1 && style.overflow === "hidden" && style.textOverflow === "ellipsis") {
      faults.push(`cut: ${node.data.trim().slice(0, 30)}`);
    }
  }
  if (texts < 100) faults.push(`only ${texts} texts are seen`);
  for (const tag of ["header", "main", "footer", "h1"]) {
    if (document.querySelectorAll(tag).length !== 1) faults.push(`not one ${tag}`);
  }
  let before = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3")) {
    if (!isShown(heading)) continue;
    const level = Number(heading.tagName[1]);
    if (level > before + 1) faults.push(`a level of headings is left out before ${heading.textContent}`);
    before = level;
  }
  for (const section of document.querySelectorAll("section")) {
    const by = section.getAttribute("aria-labelledby");
    if (!by || !document.getElementById(by)) faults.push(`a section without a name: ${section.id}`);
  }
  for (const table of document.querySelectorAll("table")) {
    const columns = table.querySelectorAll("thead th[scope=col]").length;
    for (const row of table.querySelectorAll("tbody tr")) {
      if (row.children.length !== columns) faults.push(`${row.children.length} cells under ${columns} heads: ${row.textContent}`);
      if (!row.querySelector("th[scope=row]")) faults.push(`a row without a head: ${row.textContent}`);
    }
  }
  for (const picture of document.querySelectorAll("svg")) {
    if (picture.getAttribute("role") !== "img" || !picture.getAttribute("aria-label")) faults.push("a picture without a name");
  }
  for (const area of document.querySelectorAll(".scroll")) {
    // What can be scrolled must be reached by keyboard.
    if (area.scrollWidth > area.clientWidth && area.tabIndex !== 0) faults.push("an area that only a mouse can scroll");
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  if (new Set(ids).size !== ids.length) faults.push("an id is there twice");
  const status = document.querySelector("[aria-live=polite]");
  if (!status || status.textContent.trim() !== document.getElementById("word").textContent) faults.push("the state is not announced");
  return faults;
})()
