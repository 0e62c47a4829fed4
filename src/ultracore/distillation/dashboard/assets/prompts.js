// The versions of the prompts: a tree, the curve of their scores, and the text of one in a dialog.
"use strict";

const LINE = 26, INDENT = 18, MOST_DEPTH = 12, LETTER = 7;

// Depth first, children in the order of their making; without recursion, as a chain may be long.
const walk = (versions) => {
  const ids = new Set(versions.map((v) => v.id)), children = new Map(), found = [];
  for (const v of versions) {
    const parent = ids.has(v.parent) ? v.parent : null;
    children.set(parent, [...(children.get(parent) || []), v]);
  }
  const waiting = (children.get(null) || []).toReversed().map((v) => [v, 0]);
  while (waiting.length) {
    const [v, depth] = waiting.pop();
    found.push({ ...v, depth });
    waiting.push(...(children.get(v.id) || []).toReversed().map((child) => [child, depth + 1]));
  }
  return found;
};

const score = (v) => [v.selection === null ? null : `${percent(v.selection)} on selection`, v.test === null ? null : `${percent(v.test)} on test`]
  .filter(Boolean).join(", ");

const tree = (rows) => {
  const place = new Map(rows.map((v, i) => [v.id, i])), x = (v) => 10 + INDENT * Math.min(v.depth, MOST_DEPTH), y = (i) => LINE * (i + 0.5);
  const edge = (v, i) => {
    const parent = rows[place.get(v.parent)];
    return parent ? svg("path", { class: "edge", d: `M${x(parent)},${y(place.get(v.parent))} V${y(i)} H${x(v)}` }) : null;
  };
  const label = (v) => [v.id.slice(0, 8), score(v), v.in_use ? "in use" : ""].filter(Boolean).join(" · ");
  const width = Math.max(...rows.map((v) => x(v) + 20 + LETTER * label(v).length));
  return svg("svg", { class: "tree", width, height: LINE * rows.length, role: "img", "aria-label": `Tree of ${count(rows.length)} versions` },
    rows.map(edge),
    rows.map((v, i) => [
      svg("circle", { class: v.in_use ? "node used" : "node", cx: x(v), cy: y(i), r: v.in_use ? 6 : 4.5 },
        svg("title", null, `${v.id}: ${v.how || v.method}`)),
      svg("text", { class: "tick", x: x(v) + 12, y: y(i) + 4 }, label(v)),
    ]));
};

const curve = (versions) => {
  const scored = versions.filter((v) => v.selection !== null);
  if (scored.length < 2) return h("p", { class: "none" }, "A curve needs two versions with a score.");
  const x = (i) => LEFT + (i * (WIDTH - LEFT - RIGHT - 8)) / (scored.length - 1) + 4, y = inside(0, 1);
  const dot = (kind, value) => (v, i) => value(v) === null ? null
    : svg("circle", { class: kind, cx: x(i), cy: y(value(v)), r: 4 }, svg("title", null, `${v.id.slice(0, 8)}: ${score(v)}`));
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Scores, version by version", class: "chart" },
    [0, 0.5, 1].map((v) => [
      svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v) }),
      svg("text", { class: "tick", x: LEFT - 7, y: y(v) + 4, "text-anchor": "end" }, percent(v, 0)),
    ]),
    svg("polyline", { class: "trend", points: scored.map((v, i) => `${x(i)},${y(v.selection)}`).join(" ") }),
    scored.map(dot("point", (v) => v.selection)), scored.map(dot("node used", (v) => v.test)));
};

const box = h("dialog", { "aria-labelledby": "prompt-title" });
document.body.append(box);
const open = async (v) => {
  let found;
  try {
    found = await ask("/dashboard/prompt.json", { id: v.id });
  } catch (error) {
    if (error instanceof Refused) return askForKey(error.message);
    found = { problem: error.message };
  }
  box.replaceChildren(
    h("button", { class: "close", onclick: () => box.close() }, "Close"), h("h2", { id: "prompt-title" }, `Version ${v.id}`),
    h("p", null, [v.how, score(v), `${count(v.characters)} characters`].filter(Boolean).join("; ")),
    ...(found.problem ? [h("p", { class: "no" }, found.problem)]
      : !found.texts ? [h("p", { class: "none" }, "Texts are shown to keys of scope admin.")]
        : [h("pre", null, found.text + (found.cut ? " …" : "")),
          ...(found.changes.length ? [h("h3", null, "What changed"), h("pre", { class: "changes" }, found.changes.join("\n"))] : [])]));
  if (!box.open) box.showModal();
};

dashboard(({ total, versions }) => {
  const rows = walk(versions);
  section("tree", rows, () => h("section", null, h("h2", null, "Which version came of which"),
    total > versions.length ? h("p", null, `The newest ${count(versions.length)} of ${count(total)}.`) : null,
    h("div", { class: "card" }, rows.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Tree" }, tree(rows))
      : h("p", { class: "none" }, "There are none yet: distill prompts optimize makes them."))));
  section("curve", versions, () => h("section", null, h("h2", null, "Scores, version by version"),
    h("div", { class: "card" }, curve(versions), h("p", { class: "tick" }, "The line: on the examples that are chosen by. Filled points: on the test part, which no search sees."))));
  section("versions", versions, () => h("section", null, h("h2", null, "Versions"),
    h("div", { class: "card" }, table("Versions", [
      ["version", (v) => h("button", { class: "link", id: `of-${v.id}`, onclick: () => open(v) }, v.id.slice(0, 8))],
      ["", (v) => (v.in_use ? h("span", { class: "yes" }, "in use") : "")], ["agent", (v) => v.agent || UNKNOWN], ["how", (v) => v.how || v.method],
      ["selection", (v) => percent(v.selection), "num"], ["test", (v) => percent(v.test), "num"], ["characters", (v) => count(v.characters), "num"],
      ["time (UTC)", (v) => when(v.time), "time"],
    ], versions.toReversed()))));
});
