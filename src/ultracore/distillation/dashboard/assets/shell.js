// What every page shares: elements from text that stays text, the reader's key, and asking again every few seconds.
"use strict";

const make = (document_, tag, attributes, children) => {
  const node = document_(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};
const h = (tag, attributes, ...children) => make((name) => document.createElement(name), tag, attributes, children);
const svg = (tag, attributes, ...children) =>
  make((name) => document.createElementNS("http://www.w3.org/2000/svg", name), tag, attributes, children);

const UNKNOWN = "–";
const known = (value, words) => (value === null || value === undefined ? UNKNOWN : words(value));
const count = (value) => known(value, (n) => n.toLocaleString("en"));
const percent = (value, digits = 1) => known(value, (n) => `${(100 * n).toFixed(digits)}%`);
const money = (value) => known(value, (n) => {
  const digits = Math.abs(n) < 1 ? 4 : 2;
  return `${n < 0 ? "−" : ""}$${Math.abs(n).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: 2 })}`;
});
const duration = (value) => known(value, (ms) => (ms < 9.95 ? `${ms.toFixed(1)} ms` : ms < 9950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`));
const when = (text) => known(text, (t) => `${t.slice(0, 10)} ${t.slice(11, 19)}`);
const words = (name) => String(name).replaceAll("_", " ");
const number = (value) => known(value, (n) => (Number.isInteger(n) ? count(n) : n.toPrecision(3)));

// Columns are [heading, cell of a row, "num" or nothing]; the first one heads its row.
const table = (caption, columns, rows) => {
  if (!rows.length) return h("p", { class: "none" }, "None.");
  const cell = (row) => ([, value, kind], i) =>
    h(i ? "td" : "th", i ? { class: kind } : { scope: "row" }, value(row));
  const heads = columns.map(([name, , kind]) => h("th", { scope: "col", class: kind }, name));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", null,
      h("caption", { class: "hidden" }, caption),
      h("thead", null, h("tr", null, heads)),
      h("tbody", null, rows.map((row) => h("tr", null, columns.map(cell(row)))))));
};

const EVERY_MS = 3000;
const KEY = "distill-key";

const page = JSON.parse(document.getElementById("page").textContent);
const parameters = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

class Refused extends Error {}

// The key travels in a header only; it is kept while this tab is open.
const ask = async (path, query = {}) => {
  const key = sessionStorage.getItem(KEY);
  const words_ = new URLSearchParams(query).toString();
  const reply = await fetch(words_ ? `${path}?${words_}` : path, {
    headers: key ? { authorization: `Bearer ${key}` } : {}, credentials: "omit", redirect: "error",
  });
  if (reply.status === 401 || reply.status === 403) {
    const why = key ? (reply.status === 401 ? "This key is not accepted." : "This key may not read the figures.") : "";
    throw new Refused(why);
  }
  const value = await reply.json();
  if (!reply.ok) throw new Error(value.error.message);
  return value;
};

const askForKey = (why) => {
  if (document.getElementById("key-form")) return;
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h("form", { id: "key-form", class: "card", onsubmit: (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, field.value.trim());
    form.remove();
    refresh();
  } },
    h("h2", null, "A key is needed"),
    h("p", null, "Make one that may only read: ", h("code", null, "distill keys add dashboard --scope read-only"),
      ". It stays in this tab until you close it, and is sent in a header only."),
    why ? h("p", { class: "no", role: "alert" }, why) : null,
    h("label", { for: "key" }, "Key"), field, h("button", { type: "submit" }, "Show the figures"));
  document.getElementById("main").replaceChildren(form);
  shown.clear();
  field.focus();
};

// Sections are drawn anew only where their data changed, so that what is focused, open or selected stays so.
const shown = new Map();
const section = (id, data, draw) => {
  const text = JSON.stringify(data);
  const before = document.getElementById(id);
  if (before && shown.get(id) === text) return before;
  const node = draw();
  node.id = id;
  const focused = before && before.contains(document.activeElement) ? document.activeElement.id : "";
  const open = before ? [...before.querySelectorAll("details[open]")].map((d) => d.dataset.name) : [];
  if (before) before.replaceWith(node);
  else document.getElementById("main").append(node);
  for (const item of node.querySelectorAll("details")) item.open = open.includes(item.dataset.name);
  if (focused && document.getElementById(focused)) document.getElementById(focused).focus({ preventScroll: true });
  shown.set(id, text);
  return node;
};

const say = (text, bad = false) => {
  const state = document.getElementById("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = bad ? "no" : "";
};

let render = null;
let timer = 0;
let asked = 0;

const refresh = async () => {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const data = await ask(page.source, parameters);
    if (mine !== asked) return;
    const form = document.getElementById("key-form");
    if (form) form.remove();
    render(data);
    if (!performance.getEntriesByName("figures").length) performance.mark("figures");
    say(data.log ? progress(data.log) : "");
  } catch (error) {
    if (mine !== asked) return;
    if (error instanceof Refused) return askForKey(error.message);
    say(`The figures could not be read: ${error.message}. Trying again.`, true);
  }
  timer = setTimeout(refresh, EVERY_MS);
};

const progress = (log) => {
  if (log.problem) return `The figures do not follow the log: ${log.problem}`;
  if (log.position < log.last) return `Reading the log: ${Math.floor((100 * log.position) / log.last)}% of ${count(log.last)} events.`;
  return `Up to date: ${count(log.last)} events read.`;
};

const dashboard = (draw) => {
  render = draw;
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  refresh();
};
