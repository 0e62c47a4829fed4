// The page at "/": is the student trusted, what does it save, and what happened.
"use strict";

const NAMES = { "1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days", all: "the whole log" };

if (!NAMES[parameters.window]) parameters.window = "24h";
const chooser = () => h("label", null, "Show ", h("select", { id: "window", onchange: (event) => {
  parameters.window = event.target.value;
  history.replaceState(null, "", `#${new URLSearchParams(parameters)}`);
  refresh();
} }, Object.entries(NAMES).map(([name, text]) => h("option", { value: name, selected: name === parameters.window }, text))));
document.getElementById("tools").append(chooser());

const overall = (data) => (data.agreement || []).find((found) => found.kind === "all" && found.labelled) || null;
const between = (found) => (found && found.labelled ? `${percent(found.lower)} to ${percent(found.upper)}` : UNKNOWN);

// An estimate from few audits is no verdict: the bounds are, which hold at every look.
const verdict = (data) => {
  const found = overall(data);
  if (!data.model) return ["plain", "No student answers", "Every request goes to the teacher."];
  if (!data.agreement) return ["plain", "A certified student answers", "How far its calls agree with the teacher's is being computed from the audits."];
  if (!found) return ["plain", "A certified student answers", `At least ${percent(data.floor)} of the calls it sends should agree with the teacher; no audit has a label yet.`];
  const said = `Of ${count(found.labelled)} audited calls since it was deployed ${percent(found.agreement)} are what the teacher would have called. `
    + `With ${percent(1 - found.risk, 2)} confidence, at every look, the true share is ${between(found)}; at least ${percent(found.floor)} is promised.`;
  if (found.upper < found.floor) return ["warn", "The student agrees less than it promised", said];
  return ["good", found.lower >= found.floor ? "The student keeps its promise" : "A certified student answers", said];
};

const hero = (data) => {
  const { model, alerts } = data, open = alerts.filter((alert) => !alert.resolved);
  const [kind, head, said] = verdict(data);
  return h("div", { class: `card hero ${open.length ? "warn" : kind}` },
    h("span", { class: "badge" }, open.length ? `${count(open.length)} open ${open.length === 1 ? "alert" : "alerts"}` : "no open alerts"),
    h("h2", null, head), h("p", null, said),
    model ? h("p", null, "Model ", h("code", null, model.model_id), `, since ${when(model.since)} UTC`) : null,
    open.map((alert) => h("p", { class: "alert", role: "alert" }, h("b", null, words(alert.name)), ` ${alert.message}`)));
};

const tiles = (data) => {
  const { totals, latency, floor } = data;
  const student = latency.student || {}, teacher = latency.teacher || {};
  const tile = (name, value, note) => h("div", { class: "card tile" }, h("dt", null, name),
    h("dd", { class: "value" }, value), h("dd", { class: "note" }, note));
  const saved = totals.dollars_saved === null ? (totals.price === null ? "no priced answer of the teacher" : "an audit has no price")
    : `net of audits, at ${money4(totals.price)} an answer (mean of ${count(totals.priced)})`;
  return h("dl", { class: "tiles" },
    tile("Live agreement", percent(totals.agreement), `of ${count(totals.labelled)} audits; at least ${percent(floor)} is wanted`),
    tile("Answered here", percent(totals.coverage), `${count(totals.sent)} of ${count(totals.decisions)} decisions`),
    tile("Teacher calls saved", percent(totals.calls_saved_share), `${count(totals.calls_saved)}, net of ${count(totals.audits)} audits`),
    tile("Money saved", money(totals.dollars_saved), saved),
    tile("Answer time, median", duration(student.p50), `the teacher ${duration(teacher.p50)}`));
};
const money4 = (value) => known(value, (n) => `$${n.toPrecision(2)}`);

const answers = (data) => h("section", null, h("h2", null, "Who answered"),
  h("div", { class: "card" },
    stacked(`Decisions of the student and of the teacher, ${NAMES[data.window.name]}`, data.series,
      [["by the student", "sent", (row) => row.sent], ["by the teacher", "rest", (row) => row.teacher]]),
    legend(["sent", `the student, ${count(data.totals.sent)}`], ["rest", `the teacher, ${count(data.totals.teacher)}`]),
    asTable("answers", data.series, [["time (UTC)", (r) => r.slot], ["student", (r) => count(r.sent), "num"], ["teacher", (r) => count(r.teacher), "num"]])));

const legend = (...items) => h("ul", { class: "key" }, items.map(([kind, text]) =>
  h("li", null, svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": true }, svg("rect", { class: kind, width: 10, height: 10, rx: 2 })), text)));

const asTable = (name, rows, columns) => h("details", { "data-name": name }, h("summary", { id: `${name}-table` }, "As a table"),
  table(`${name}, as a table`, columns, rows.filter((row) => row.sent || row.teacher || row.audits)));

const agreement = (data) => {
  let agreeing = 0, weight = 0;
  const rows = data.series.map((row) => {
    agreeing += row.agreeing_weight;
    weight += row.weight;
    return { ...row, sofar: weight ? agreeing / weight : null };
  });
  return h("section", null, h("h2", null, "Does it agree?"),
    h("div", { class: "card" },
      weight ? shares(`Agreement of audited calls, ${NAMES[data.window.name]}`, rows, (r) => r.agreement, (r) => r.sofar, [["wanted", data.floor, "floor"]])
        : h("p", { class: "none" }, "No audit has a label in this time."),
      weight ? h("p", null, "A random share of the sent calls is also asked of the teacher. Points: one step; line: all so far.") : null,
      weight ? asTable("audits", data.series, [["time (UTC)", (r) => r.slot], ["audits", (r) => count(r.audits), "num"], ["labelled", (r) => count(r.labelled), "num"], ["agree", (r) => percent(r.agreement), "num"]]) : null));
};

const tools = (data) => {
  const known = Object.fromEntries((data.agreement || []).filter((found) => found.kind === "action").map((found) => [found.name, found]));
  return h("section", null, h("h2", null, "Tools"), h("div", { class: "card" }, table("Tools", [
    ["tool", (r) => [r.tool, known[r.tool] && known[r.tool].revoked ? h("span", { class: "flag" }, "revoked") : null]],
    ["decisions", (r) => count(r.decisions), "num"],
    ["answered here", (r) => [percent(r.coverage), meter(r.coverage, "sent")], "num"],
    ["audits with a label", (r) => count(r.labelled), "num"],
    ["agree", (r) => percent(r.agreement), "num"],
    ["true share since deployment", (r) => h("span", { class: known[r.tool] && known[r.tool].upper < known[r.tool].floor ? "no" : null }, between(known[r.tool])), "num"],
  ], data.tools)));
};

const reasons = (data) => h("section", null, h("h2", null, "Why the teacher"),
  h("div", { class: "card" }, table("Reasons", [
    ["reason", (r) => words(r.reason)],
    ["decisions", (r) => count(r.n), "num"],
    ["share", (r) => [percent(r.share), meter(r.share, "rest")], "num"],
  ], data.reasons)));

const times = (data) => h("section", null, h("h2", null, "How fast"),
  h("div", { class: "card" }, table("Answer times", [
    ["who", (r) => r.who], ["answers", (r) => count(r.n), "num"],
    ...["p50", "p95", "p99"].map((p) => [p, (r) => duration(r[p]), "num"]),
  ], Object.entries(data.latency).map(([who, row]) => ({ who: `the ${who}`, ...row })))));

const agents = (data) => h("section", null, h("h2", null, "Agents"),
  h("div", { class: "card" }, table("Agents", [
    ["agent", (r) => r.agent], ["decisions", (r) => count(r.decisions), "num"],
    ["answered here", (r) => [percent(r.coverage), meter(r.coverage, "sent")], "num"],
  ], data.agents)));

const models = (data) => h("section", null, h("h2", null, "Models"),
  h("div", { class: "card" }, table("Models", [
    ["model", (r) => h("code", null, r.model_id)],
    ["is", (r) => h("span", { class: r.active ? "yes" : r.status === "revoked" ? "no" : null }, r.active ? "answering" : r.status)],
    ["since (UTC)", (r) => when(r.since), "time"],
    ["certified at", (r) => percent(r.target), "num"],
    ["coverage", (r) => percent(r.coverage), "num"],
    ["learned from", (r) => count(r.decisions), "num"],
  ], data.models.toReversed())));

const timeline = (data) => h("section", null, h("h2", null, "What happened"),
  h("div", { class: "card" }, data.timeline.length ? h("ol", { class: "story", tabindex: 0, role: "list", "aria-label": "What happened, the latest first" }, data.timeline.map((step) =>
    h("li", { class: BAD.test(step.type) ? "bad" : GOOD.test(step.type) ? "fine" : null },
      h("time", { datetime: step.time }, when(step.time)), h("span", null, step.words)))) : h("p", { class: "none" }, "Nothing yet.")));
const BAD = /REVOKED|REJECTED|ROLLED_BACK|ALERT_RAISED|DRIFT|SCHEMA_CHANGED|PAUSED/, GOOD = /DEPLOYED|RESUMED|RESOLVED/;

const drift = (data) => h("section", null, h("h2", null, "Drift and alerts"),
  h("div", { class: "card stack" },
    !data.drift.length ? h("p", { class: "none" }, "No detector has alarmed.") : table("Drift", [
      ["detector", (r) => words(r.detector)], ["score", (r) => number(r.score), "num"], ["limit", (r) => number(r.threshold), "num"],
      ["rows, then and now", (r) => `${count(r.reference)} / ${count(r.recent)}`, "num"], ["seen (UTC)", (r) => when(r.time), "time"],
    ], data.drift),
    !data.alerts.length ? h("p", { class: "none" }, "No alert was ever raised.") : table("Alerts", [
      ["alert", (r) => words(r.name)], ["says", (r) => r.message], ["value", (r) => number(r.value), "num"], ["limit", (r) => number(r.limit), "num"],
      ["raised (UTC)", (r) => when(r.raised), "time"], ["over (UTC)", (r) => (r.resolved ? when(r.resolved) : h("span", { class: "no" }, "open")), "time"],
    ], data.alerts)));

const decisions = (data) => h("section", null, h("h2", null, "Latest decisions"),
  h("div", { class: "card" }, table("Latest decisions", [
    ["time (UTC)", (r) => when(r.time)],
    ["tool", (r) => h("button", { class: "link", id: `of-${r.id}`, onclick: () => show(r.id) }, r.tool)],
    ["by", (r) => h("span", { class: r.source === "student" ? "yes" : null }, r.source)],
    ["why the teacher", (r) => words(r.reason)], ["agent", (r) => r.agent],
    ["sure", (r) => percent(r.confidence, 0), "num"],
  ], data.recent)));

dashboard((data) => {
  const { totals, window: { name }, floor } = data;
  section("hero", [data.model, floor, data.agreement, data.alerts], () => hero(data));
  section("tiles-box", [totals, data.latency, floor], () => tiles(data));
  section("answers", [name, data.series], () => answers(data));
  section("agreement", [name, floor, data.series], () => agreement(data));
  section("tools-section", [data.agreement, data.tools], () => tools(data));
  section("reasons", data.reasons, () => reasons(data));
  section("times", data.latency, () => times(data));
  section("models", data.models, () => models(data));
  section("timeline", data.timeline, () => timeline(data));
  section("drift", [data.drift, data.alerts], () => drift(data));
  section("agents", data.agents, () => agents(data));
  section("decisions", data.recent, () => decisions(data));
});
