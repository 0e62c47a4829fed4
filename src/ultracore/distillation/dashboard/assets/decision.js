// One decision, from the answer back to the rows that its model learned from, in a dialog.
"use strict";

const box = h("dialog", { "aria-labelledby": "decision-title", onclose: () => point(null) });
document.body.append(box);

const point = (id) => {
  if (id) parameters.decision = id;
  else delete parameters.decision;
  history.replaceState(null, "", `#${new URLSearchParams(parameters)}`);
};

const facts = (pairs) => h("dl", { class: "turns" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
const code = (text) => known(text, (t) => h("code", null, t));

const show = async (id, offset = 0) => {
  let found;
  try {
    found = await ask("/dashboard/decision.json", { id, offset });
  } catch (error) {
    if (error instanceof Refused) return askForKey(error.message);
    found = null;
    box.replaceChildren(close(), h("h2", { id: "decision-title" }, "Not found"), h("p", null, error.message));
  }
  if (found) box.replaceChildren(close(), ...pieces(found, id));
  point(id);
  if (!box.open) box.showModal();
};

const close = () => h("button", { class: "close", onclick: () => box.close() }, "Close");

const pieces = ({ decision, audit, events, texts, model, certificate, dataset, rows, offset }, id) => [
  h("h2", { id: "decision-title" }, `${decision.source === "student" ? "The student" : "The teacher"} chose ${decision.tool}`),
  facts([["decision", code(decision.id)], ["time (UTC)", when(decision.time)], ["agent", decision.agent], ["why the teacher", decision.reason && words(decision.reason)],
    ["confidence", decision.confidence === null ? null : percent(decision.confidence)], ["teacher", decision.teacher],
    ["audit", audit === null ? null : h("span", { class: audit ? "yes" : "no" }, audit ? "the teacher agrees" : "the teacher would have done something else")]]),
  texts ? said(decision) : h("p", { class: "none" }, "Texts are shown to keys of scope admin."),
  texts ? h("ol", { class: "story" }, events.map((step) => h("li", null, h("time", null, when(step.time)), h("span", null, step.words)))) : null,
  h("h3", null, "Model"),
  model ? facts([["model", code(model.model_id)], ["trained (UTC)", when(model.time)], ["from", `${count(model.decisions)} decisions of ${count(model.episodes)} episodes`], ["seed", count(model.seed)]])
    : h("p", { class: "none" }, decision.model_id ? "The log does not tell how this model was trained." : "No model was asked."),
  certificate ? [h("h3", null, "Certificate"), facts([["says", certificate.reason], ["issued", certificate.certified ? "yes" : h("span", { class: "no" }, "refused")],
    ["calibrated on", certificate.units === null ? null : `${count(certificate.units)} episodes, ${count(certificate.decisions)} decisions`],
    ["agreeing of sent", certificate.sent === null ? null : `${count(certificate.agreeing)} of ${count(certificate.sent)}`], ["coverage", percent(certificate.coverage)]])] : null,
  dataset ? [h("h3", null, "Learned from"), facts([["data set", code(dataset.dataset_id)], ["rows", Object.entries(dataset.parts).map(([part, n]) => `${count(n)} ${part}`).join(", ") || "none"]]),
    learned(dataset, rows, offset, texts, id)] : null,
].flat(9).filter(Boolean);

const said = (decision) => decision.erased ? h("p", { class: "none" }, "The texts were erased.") : [
  facts(decision.messages.map((message) => [message.role, message.text])),
  h("pre", null, JSON.stringify(decision.calls && decision.calls.length ? decision.calls : decision.reply, null, 1)),
];

const learned = (dataset, rows, offset, texts, id) => [
  table("Training rows", [
    ["decision", (r) => h("button", { class: "link", onclick: () => show(r.id) }, r.id.slice(0, 12))], ["tool", (r) => r.tool || UNKNOWN], ["part", (r) => r.part],
    ["stands for", (r) => number(r.weight), "num"], ...(texts ? [["says", (r) => r.words]] : []),
  ], rows),
  h("p", null,
    offset ? h("button", { onclick: () => show(id, Math.max(0, offset - rows.length)) }, "Earlier rows") : null, " ",
    offset + rows.length < dataset.rows ? h("button", { onclick: () => show(id, offset + rows.length) }, `Next of ${count(dataset.rows)} rows`) : null),
];

const finder = h("form", { class: "find", role: "search", onsubmit: (event) => {
  event.preventDefault();
  show(event.target.elements.receipt.value.trim());
} }, h("label", { for: "receipt" }, "Find a decision by its receipt"), h("input", { id: "receipt", name: "receipt", required: true, spellcheck: "false", autocomplete: "off" }), h("button", { type: "submit" }, "Find"));
document.querySelector("footer").prepend(finder);
if (parameters.decision) show(parameters.decision);
