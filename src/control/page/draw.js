"use strict";
// Numbers as people read them, elements, bars and curves. Nothing here knows what a server is.
//
// Text becomes text: no markup is ever made of a string.

/** An element with these attributes and children; strings become text. */
const make = (tag, attributes = {}, ...children) => {
  const svg = ["svg", "path", "line"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const byId = (id) => document.getElementById(id);

/** Sets a text, and leaves alone what is so already. */
const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

/** A text with `code` in backticks. */
const sayWithCode = (element, text) => {
  if (element.dataset.said === text) return;
  element.dataset.said = text;
  element.replaceChildren(...text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part)));
};

const none = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Three digits at least, as many as the number has in front of its point. */
const digits = (value) => {
  const size = Math.abs(value);
  const behind = size === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return value.toFixed(behind);
};

/** A whole number, all of it. */
const whole = (value) => (isNumber(value) ? Math.round(value).toLocaleString("en-US") : none);

const scaled = (value, step, units) => {
  let at = 0;
  // What would be rounded up to a whole step is the next unit's.
  while (Math.abs(value) >= step - 0.5 && at < units.length - 1) {
    value /= step;
    at += 1;
  }
  return [at === 0 && Number.isInteger(value) ? String(value) : digits(value), units[at]];
};

/** A number of things, short. */
const short = (value) => {
  if (!isNumber(value)) return none;
  const [number, unit] = scaled(value, 1000, ["", "k", "M", "G", "T"]);
  return unit ? `${number} ${unit}` : number;
};

const bytes = (value) => {
  if (!isNumber(value)) return none;
  const [number, unit] = scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
  return `${number} ${unit}`;
};

/** A rate of things; of bytes, if the unit is `bytes`. A second is never exactly one, so small rates are rounded. */
const rate = (value, unit = "") => {
  if (!isNumber(value)) return none;
  if (unit === "bytes") return `${bytes(value)}/s`;
  if (value >= 999.5) return `${short(value)}/s`;
  return `${value.toFixed(value > 0 && value < 9.95 ? 1 : 0)}/s`;
};

const percent = (part) => (isNumber(part) ? `${(part * 100).toFixed(part < 0.0995 && part > 0 ? 1 : 0)} %` : none);

/** Microseconds. */
const micros = (value) => {
  if (!isNumber(value)) return none;
  const [number, unit] = scaled(value, 1000, ["µs", "ms"]);
  return value >= 999_500 ? `${digits(value / 1e6)} s` : `${number} ${unit}`;
};

/** Seconds, for people. */
const lasting = (seconds) => {
  if (!isNumber(seconds)) return none;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
};

/** A number that is shown, and for programs the number itself. */
const figure = (value, text, id) => {
  const element = make("data", { value: isNumber(value) ? String(value) : "" }, text);
  if (id) element.id = id;
  return element;
};

/** Puts a number in its place. */
const put = (cell, value, text) => {
  const shown = cell.firstElementChild ?? cell.appendChild(figure(value, text));
  shown.setAttribute("value", isNumber(value) ? String(value) : "");
  say(shown, text);
};

/** Brings a table's body in line with a list: rows that stay keep their element, and with it the reader's place. */
const fill = (body, list, keyOf, build, update) => {
  const before = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let last = null;
  for (const item of list) {
    const key = keyOf(item);
    let row = before.get(key);
    before.delete(key);
    if (!row) {
      row = build(item);
      row.dataset.key = key;
    }
    update(row, item);
    const place = last ? last.nextElementSibling : body.firstElementChild;
    if (place !== row) body.insertBefore(row, place);
    last = row;
  }
  for (const row of before.values()) row.remove();
};

/** A bar for a part of a whole. The number stands beside it, so the bar itself says nothing to a screen reader. */
const bar = () => make("span", { class: "bar", "aria-hidden": "true" }, make("span", { class: "filled" }));

const setBar = (element, part, mark = "") => {
  const filled = element.firstElementChild;
  filled.style.width = `${Math.min(Math.max(part || 0, 0), 1) * 100}%`;
  element.dataset.mark = mark;
};

const curveSize = { width: 300, height: 44 };

/** An empty curve. */
const curve = () => {
  const { width, height } = curveSize;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  // A line for each minute.
  for (let minute = 1; minute < 5; minute += 1) {
    const x = (width / 5) * minute;
    svg.append(make("line", { class: "minute", x1: x, x2: x, y1: 0, y2: height, "vector-effect": "non-scaling-stroke" }));
  }
  svg.append(make("path", { class: "area" }), make("path", { class: "line", "vector-effect": "non-scaling-stroke" }));
  svg.append(make("line", { class: "base", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5, "vector-effect": "non-scaling-stroke" }));
  return svg;
};

/** Draws points of a time and a value, the newest at the right; a gap in time is a gap in the line. Gives the largest. */
const drawCurve = (svg, points, now, span) => {
  const { width, height } = curveSize;
  const known = points.filter(([time, value]) => isNumber(value) && now - time <= span);
  const most = known.reduce((most, [, value]) => Math.max(most, value), 0);
  const x = (time) => (width - ((now - time) / span) * width).toFixed(1);
  const y = (value) => (height - 1 - (most > 0 ? value / most : 0) * (height - 5)).toFixed(1);
  let line = "";
  let area = "";
  let before = null;
  for (const [time, value] of known) {
    const joins = before !== null && time - before < 3.5;
    if (!joins && area) area += `L${x(before)},${height}Z`;
    line += `${joins ? "L" : "M"}${x(time)},${y(value)}`;
    area += joins ? `L${x(time)},${y(value)}` : `M${x(time)},${height}L${x(time)},${y(value)}`;
    before = time;
  }
  if (area) area += `L${x(before)},${height}Z`;
  const [areaPath, linePath] = svg.querySelectorAll("path");
  areaPath.setAttribute("d", area);
  linePath.setAttribute("d", line);
  return known.length ? most : null;
};
