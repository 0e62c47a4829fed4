// Two charts as plain SVG, in the colours of the style sheet: plotly.js (4.5 MB) alone would take longer than the page may.
"use strict";

const HEIGHT = 210, LEFT = 44, BOTTOM = 24, TOP = 10, RIGHT = 6;
const WIDTH = Math.max(300, Math.min(560, document.getElementById("main").clientWidth - 60));  // so that letters are as large as the text

const frame = (label, ticks, y, steps, marks) => {
  const across = (i) => LEFT + ((i + 0.5) * (WIDTH - LEFT - RIGHT)) / steps.length;
  const every = Math.ceil(steps.length / (WIDTH / 95));
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "chart" },
    ticks.map(([value, text]) => [
      svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, text),
    ]),
    steps.map((slot, i) => (steps.length - 1 - i) % every ? null
      : svg("text", { class: "tick", x: Math.min(Math.max(across(i), LEFT + 18), WIDTH - 22), y: HEIGHT - 6, "text-anchor": "middle" }, stepName(slot))),
    marks(across));
};

const stepName = (slot) => (slot.length === 10 ? slot.slice(5) : slot.length === 13 ? `${slot.slice(11)}:00` : slot.slice(11));
const inside = (low, high) => (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);

const round = (top) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(top, 1)));
  return [1, 2, 3, 4, 6, 8, 10].map((n) => n * power).find((n) => n >= top);
};

// Bars that stand on each other; series are [name, CSS class, value of a row].
const stacked = (label, rows, series) => {
  const total = (row) => series.reduce((sum, [, , value]) => sum + value(row), 0);
  const top = round(Math.max(1, ...rows.map(total)));
  const y = inside(0, top), width = Math.max(1, (WIDTH - LEFT - RIGHT) / rows.length - (rows.length > 100 ? 0.5 : 2));
  const bar = (across) => (row, i) => {
    let below = 0;
    const title = `${row.slot}: ${series.map(([name, , value]) => `${count(value(row))} ${name}`).join(", ")}`;
    return svg("g", null, svg("title", null, title), series.map(([, kind, value]) => {
      const from = below;
      below += value(row);
      return value(row) ? svg("rect", { class: kind, x: across(i) - width / 2, width, y: y(below), height: y(from) - y(below) }) : null;
    }));
  };
  const short = (n) => (n >= 1e6 ? `${n / 1e6}M` : n >= 1e3 ? `${n / 1e3}k` : String(n));
  const ticks = (top < 2 ? [0, top] : [0, top / 2, top]).map((n) => [n, short(n)]);
  return frame(label, ticks, y, rows.map((row) => row.slot), (across) => rows.map(bar(across)));
};

// Shares over time: a point for each step that has any, a line through what they come to so far, and level lines.
const shares = (label, rows, point, line, levels) => {
  const values = rows.flatMap((row) => [point(row), line(row)]).concat(levels.map(([, value]) => value)).filter((v) => v !== null);
  const low = Math.max(0, Math.floor(10 * (Math.min(...values, 0.9) - 0.02)) / 10);
  const y = inside(low, 1), middle = (1 + low) / 2;
  return frame(label, [low, middle, 1].map((v) => [v, percent(v, v * 100 % 1 ? 1 : 0)]), y, rows.map((row) => row.slot), (across) => [
    levels.map(([name, value, kind]) => value === null ? null : [
      svg("line", { class: `level ${kind}`, x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: `tick ${kind}`, x: LEFT + 5, y: y(value) - 4 }, `${name} ${percent(value)}`),
    ]),
    rows.map((row, i) => point(row) === null ? null : svg("circle", { class: "point", cx: across(i), cy: y(point(row)), r: 3.5 },
      svg("title", null, `${row.slot}: ${percent(point(row))} of ${count(row.labelled)} audits`))),
    svg("polyline", { class: "trend", points: rows.map((row, i) => line(row) === null ? "" : `${across(i)},${y(line(row))}`).join(" ") }),
  ]);
};

const meter = (share, kind) => svg("svg", { class: "meter", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": true },
  svg("rect", { class: "track", width: 100, height: 8, rx: 2 }), svg("rect", { class: kind, width: 100 * (share || 0), height: 8, rx: 2 }));
