// Draws the figures in the reader's theme, and filters the list of disagreements. Without it the tables remain.
(() => {
  "use strict";
  const source = document.getElementById("figures");
  const figures = source ? JSON.parse(source.textContent) : {};
  const root = document.documentElement;
  root.classList.add("scripted");

  const css = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const resolve = (value) => {
    if (Array.isArray(value)) return value.map(resolve);
    if (value === null || typeof value !== "object") return value;
    if (typeof value.css === "string" && Object.keys(value).length === 1) return css(value.css);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item)]));
  };

  const themed = (layout) => {
    const axis = (own) => ({
      gridcolor: css("grid"), linecolor: css("grid"), zeroline: false, automargin: true, fixedrange: true, ...own,
      title: { standoff: 10, ...(own || {}).title, font: { size: 13, color: css("muted") } },
    });
    return {
      ...layout,
      xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("sans"), size: 13, color: css("ink") },
      margin: { l: 8, r: 14, t: 34, b: 8 },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
      hoverlabel: { bgcolor: css("card"), bordercolor: css("grid"), font: { color: css("ink") } },
    };
  };

  const draw = () => {
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = resolve(figures[place.dataset.figure]);
      Plotly.react(place, figure.data, themed(figure.layout), { displayModeBar: false, responsive: true });
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  const list = document.getElementById("differences-list");
  if (!list) return;
  const PAGE = 20;
  const items = [...list.children];
  const field = (id) => document.getElementById(id);
  const more = field("show-more");
  let limit = PAGE;

  const wanted = (item) => {
    const words = field("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const tool = field("tool").value, sent = field("sent").value;
    if (tool && item.dataset.tool !== tool) return false;
    if (sent && item.dataset.sent !== sent) return false;
    if (Number(item.dataset.confidence || 0) < Number(field("least").value)) return false;
    const text = words.length ? item.textContent.toLowerCase() : "";
    return words.every((word) => text.includes(word));
  };
  const show = () => {
    let found = 0;
    for (const item of items) item.hidden = !wanted(item) || ++found > limit;
    const shown = Math.min(found, limit);
    field("found").textContent = found === 0 ? "None of them matches." : `Showing ${shown} of ${found}.`;
    field("least-value").textContent = Math.round(100 * field("least").value) + "%";
    more.hidden = found <= limit;
  };
  const restart = () => { limit = PAGE; show(); };
  for (const id of ["find", "tool", "sent", "least"]) field(id).addEventListener("input", restart);
  more.addEventListener("click", () => { limit += 50; show(); });
  show();
})();
