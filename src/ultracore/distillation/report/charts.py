"""A result as Plotly figures: plain dicts of data and layout, without colours of their own.

A colour is `{"css": name}`: the page's script looks the variable up, so that a figure follows the
reader's light or dark theme. What this file does not know: headings, tables, HTML.
"""

from __future__ import annotations

import html
from typing import Any

from ultracore.distillation.report.result import PerTool, Result
from ultracore.distillation.report.words import clip, count, level_name, percent, primary_level

__all__ = ["FIGURES", "MAX_TOOLS", "Figure", "agreements"]

Figure = dict[str, Any]

MAX_TOOLS = 20
LABEL = 34

ACCENT, ACCENT_SOFT = {"css": "accent"}, {"css": "accent-band"}
MUTED, INK, WARN = {"css": "muted"}, {"css": "ink"}, {"css": "warn"}
REST, CARD = {"css": "rest"}, {"css": "card"}
PERCENT = {"tickformat": ".0%", "hoverformat": ".1%"}


def risk_coverage(result: Result) -> Figure | None:
    """Agreement of the surest decisions against their share, with the levels and what is certified."""
    curve = result.get("risk_coverage") or {}
    x, y = curve.get("coverage") or [], curve.get("agreement") or []
    if not x or len(x) != len(y):
        return None
    traces = [*_band(x, curve.get("lower"), curve.get("upper"))]
    hover = "the surest %{x:.1%}<br>%{y:.1%} agree<extra></extra>"
    traces.append(_line(x, y, "student", ACCENT, hovertemplate=hover))
    traces.extend(_operating_points(result))
    low = min([*y, *(curve.get("lower") or [])])
    return _figure(
        traces,
        _axis("share of requests answered", **PERCENT, range=[0, 1.02]),
        _axis("agreement with the teacher", **PERCENT, range=[max(0.0, low - 0.03), 1.005]),
        shapes=_level_lines(result),
        annotations=[_level_label(float(level)) for level in result.get("levels") or {}],
    )


def calibration(result: Result) -> Figure | None:
    """Observed agreement against stated confidence; on the diagonal the student knows what it knows."""
    bins = result.get("calibration_bins") or []
    if not bins:
        return None
    biggest = max(b.get("n") or 1 for b in bins)
    sizes = [8 + 22 * ((b.get("n") or 1) / biggest) ** 0.5 for b in bins]
    points = {
        **_line([b.get("confidence") for b in bins], [b.get("agreement") for b in bins], "student", ACCENT),
        "mode": "lines+markers",
        "marker": {"size": sizes, "color": ACCENT, "opacity": 0.85},
        "customdata": [b.get("n") for b in bins],
        "hovertemplate": "says %{x:.1%}, is right %{y:.1%}<br>n = %{customdata}<extra></extra>",
    }
    diagonal = _line([0, 1], [0, 1], "perfect", MUTED, "dot", hoverinfo="skip")
    share = _axis("observed agreement", **PERCENT, range=[0, 1.04])
    return _figure([diagonal, points], _axis("confidence that the student states", **PERCENT, range=[0, 1.04]), share)


def per_tool(result: Result) -> Figure | None:
    """Agreement on each tool, most frequent first: the whole call as a bar, the tool's name as a mark."""
    rows: list[PerTool] = sorted(result.get("per_tool") or [], key=lambda r: -(r.get("n") or 0))[:MAX_TOOLS]
    if not rows:
        return None
    names = [_label(row.get("tool")) for row in rows]
    n = [count(row.get("n")) for row in rows]
    whole = {
        "type": "bar",
        "orientation": "h",
        "name": "tool and arguments",
        "y": names,
        "x": [row.get("whole_call") for row in rows],
        "marker": {"color": ACCENT},
        **_inside(CARD),
        "customdata": n,
        "hovertemplate": "%{y}<br>whole call %{x:.1%}, n = %{customdata}<extra></extra>",
    }
    tool = {
        "type": "scatter",
        "mode": "markers",
        "name": "tool alone",
        "y": names,
        "x": [row.get("tool_agreement") for row in rows],
        "marker": {"symbol": "line-ns-open", "size": 16, "color": INK, "line": {"width": 2}},
        "hovertemplate": "%{y}<br>tool %{x:.1%}<extra></extra>",
    }
    return _bars([whole, tool], len(names))


def learning_curve(result: Result) -> Figure | None:
    """Agreement on unseen tasks against the number of tasks learned from; the dashes are the ceiling."""
    points = result.get("learning_curve") or []
    if not points:
        return None
    x, y = [p.get("tasks") or 0 for p in points], [p.get("whole_call") for p in points]
    ends = [p.get("interval") for p in points]
    student = {
        **_line(x, y, "student", ACCENT),
        "mode": "lines+markers",
        "marker": {"size": 8, "color": ACCENT},
        "error_y": _errors(y, ends),
        "customdata": [count(p.get("decisions")) for p in points],
        "hovertemplate": "%{x} tasks, %{customdata} decisions<br>%{y:.1%} agree<extra></extra>",
    }
    traces = [student]
    if (ceiling := (result.get("ceiling") or {}).get("whole_call")) is not None:
        traces.append(_line([min(x), max(x)], [ceiling] * 2, "teacher with itself", MUTED, "dash"))
    return _figure(traces, _axis("tasks learned from", rangemode="tozero"), _axis("whole-call agreement", **PERCENT))


def comparison(result: Result) -> Figure | None:
    """The student between simple methods and the teacher's agreement with itself."""
    rows = agreements(result)
    if len(rows) < 2:
        return None
    names = [_label(row[0]) for row in rows]
    colours = [ACCENT if row[0] == "student" else REST for row in rows]
    whole = {
        "type": "bar",
        "orientation": "h",
        "name": "tool and arguments",
        "y": names,
        "x": [row[2] for row in rows],
        "marker": {"color": colours},
        **_inside([CARD if colour is ACCENT else INK for colour in colours]),
        "hovertemplate": "%{y}<br>whole call %{x:.1%}<extra></extra>",
    }
    tool = {
        "type": "scatter",
        "mode": "markers",
        "name": "tool alone",
        "y": names,
        "x": [row[1] for row in rows],
        "marker": {"symbol": "line-ns-open", "size": 20, "color": INK, "line": {"width": 2}},
        "hovertemplate": "%{y}<br>tool %{x:.1%}<extra></extra>",
    }
    return _bars([whole, tool, *_comparison_intervals(result)], len(names))


FIGURES = {
    "risk_coverage": risk_coverage,
    "calibration": calibration,
    "comparison": comparison,
    "per_tool": per_tool,
    "learning_curve": learning_curve,
}
"""What draws each figure; a figure whose data are missing is `None`."""


def agreements(result: Result) -> list[tuple[str, float | None, float | None]]:
    """(who, tool, whole call) of the teacher with itself, the student and each baseline, as far as measured."""
    test, ceiling = result.get("test") or {}, result.get("ceiling") or {}
    baselines = result.get("baselines") or {}
    rows = [(clip(name, LABEL).replace("_", " "), b.get("tool"), b.get("whole_call")) for name, b in baselines.items()]
    rows.append(("student", test.get("tool"), test.get("whole_call")))
    rows.append(("teacher with itself", ceiling.get("tool"), ceiling.get("whole_call")))
    return [row for row in reversed(rows) if row[1] is not None or row[2] is not None]


def _label(name: object) -> str:
    """Plotly reads a few tags and links in its labels, so text of unknown origin is escaped for it."""
    return html.escape(clip(name, LABEL))


def _line(x: list[Any], y: list[Any], name: str, colour: Any, dash: str = "solid", **more: Any) -> Figure:
    line = {"color": colour, "width": 2.5 if dash == "solid" else 1.5, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line, **more}


def _band(x: list[float], lower: list[float] | None, upper: list[float] | None) -> list[Figure]:
    if not lower or not upper or not len(x) == len(lower) == len(upper):
        return []
    edge = {"type": "scatter", "mode": "lines", "x": x, "hoverinfo": "skip", "line": {"width": 0, "color": ACCENT}}
    below = {**edge, "y": lower, "showlegend": False}
    return [below, {**edge, "y": upper, "fill": "tonexty", "fillcolor": ACCENT_SOFT, "name": "95% interval"}]


def _operating_points(result: Result) -> list[Figure]:
    chosen = primary_level(result)
    if chosen is None or not chosen[1].get("certified"):
        return []
    coverage = chosen[1].get("certified_coverage") or chosen[1].get("coverage")
    agreement = chosen[1].get("certified_agreement") or chosen[1].get("agreement")
    if coverage is None or agreement is None:
        return []
    name = f"certified at {level_name(chosen[0])}"
    marker = {"size": 13, "symbol": "diamond", "color": WARN, "line": {"width": 2, "color": CARD}}
    hover = f"{name}<br>answers {percent(coverage)}, {percent(agreement)} agree<extra></extra>"
    point = {"x": [coverage], "y": [agreement], "name": name, "marker": marker, "hovertemplate": hover}
    return [{"type": "scatter", "mode": "markers", **point}]


def _level_lines(result: Result) -> list[Figure]:
    line = {"color": MUTED, "width": 1, "dash": "dot"}
    ends = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": line, "layer": "below"}
    return [{**ends, "y0": float(level), "y1": float(level)} for level in result.get("levels") or {}]


def _level_label(level: float) -> Figure:
    place = {"xref": "paper", "x": 1, "y": level, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    return {**place, "text": level_name(level), "font": {"size": 11, "color": MUTED}}


def _inside(colour: Any) -> Figure:
    """The value at the foot of each bar, where no mark can cover it."""
    font, upright = {"color": colour, "size": 12}, {"textangle": 0, "constraintext": "none"}
    return {
        "texttemplate": "%{x:.0%}",
        "textposition": "inside",
        "insidetextanchor": "start",
        **upright,
        "textfont": font,
    }


def _comparison_intervals(result: Result) -> list[Figure]:
    """Error bars on their own, as Plotly draws a stroke of no length where a bar has none."""
    known = {"student": result.get("test") or {}, "teacher with itself": result.get("ceiling") or {}}
    found = [(who, m.get("whole_call"), (m.get("interval") or {}).get("whole_call")) for who, m in known.items()]
    whole = [(who, value, ends) for who, value, ends in found if value is not None and ends]
    if not whole:
        return []
    names, values, ends = (list(column) for column in zip(*whole, strict=True))
    mark = {"type": "scatter", "mode": "markers", "marker": {"opacity": 0}, "hoverinfo": "skip", "showlegend": False}
    return [{**mark, "y": names, "x": values, "error_x": _errors(values, ends)}]


def _errors(values: list[Any], ends: list[Any]) -> Figure:
    known = [(v, end) if v is not None and end else None for v, end in zip(values, ends, strict=True)]
    up = [None if pair is None else max(0.0, pair[1][1] - pair[0]) for pair in known]
    down = [None if pair is None else max(0.0, pair[0] - pair[1][0]) for pair in known]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": INK, "thickness": 1.2}


def _axis(title: str, **more: Any) -> Figure:
    return {"title": {"text": title}, **more}


def _bars(traces: list[Figure], rows: int) -> Figure:
    share = _axis("agreement with the teacher", **PERCENT, range=[0, 1.02])
    names = {"autorange": "reversed", "automargin": True, "showgrid": False, "ticks": ""}
    return _figure(traces, share, names, height=110 + 30 * rows, bargap=0.42)


def _figure(traces: list[Figure], xaxis: Figure, yaxis: Figure, height: int = 340, **layout: Any) -> Figure:
    return {"data": traces, "layout": {"xaxis": xaxis, "yaxis": yaxis, "height": height, **layout}}
