// A page without a script of its own: its sections as tables.
"use strict";

dashboard((data) => {
  data.sections.forEach((part, i) => section(`part-${i}`, part, () =>
    h("section", null,
      h("h2", null, part.title),
      part.note ? h("p", null, part.note) : null,
      h("div", { class: "card" }, table(part.title,
        part.columns.map((name, j) => [name, (row) => number_or_text(row[j]), typeof (part.rows[0] || [])[j] === "number" ? "num" : null]),
        part.rows)))));
});

function number_or_text(value) {
  return typeof value === "number" ? number(value) : known(value, String);
}
