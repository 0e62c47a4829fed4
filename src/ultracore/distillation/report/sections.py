"""The page's sections in the order a reader asks: what do I get, may I trust it, what does it save, what next?

Each is `None` where the run did not measure it. What this file does not know: the list of
disagreements (`differences`), and the page around the sections.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.report.differences import differences
from ultracore.distillation.report.figures import MAX_ROWS, figure_cards
from ultracore.distillation.report.html import Child, Html, el, join, table
from ultracore.distillation.report.result import Flips, Level, Result, Savings, SelfAgreement
from ultracore.distillation.report.words import (
    clip,
    count,
    duration,
    interval_text,
    level_name,
    money,
    percent,
    primary_level,
    sent_share,
    taught,
    unit,
    verdict,
)

__all__ = ["hero", "sections", "tiles"]

MAX_ITEMS = 50
TEXT = 600


def sections(result: Result, figures: dict[str, Any]) -> list[tuple[str, str, Html]]:
    """What there is to say, as (identity, name in the navigation, section)."""
    found = [
        ("trust", "Can it be trusted?", _trust(result, figures)),
        ("tools", "What it learned", _learned(result, figures)),
        ("savings", "What it saves", _savings(result)),
        ("differences", "Where they differ", differences(result)),
        ("next", "What next", _next(result)),
        ("reproduce", "Data and method", _reproduce(result)),
    ]
    return [(identity, name, section) for identity, name, section in found if section is not None]


def hero(result: Result) -> Html:
    """The verdict, and what becomes of a hundred requests."""
    said = verdict(result)
    figure = percent(said.share, 0)
    before, found, after = said.headline.partition(figure) if said.share is not None else (said.headline, "", "")
    return el(
        "div",
        el("span", said.badge, class_="badge"),
        el("h1", before, el("strong", found) if found else None, after),
        [el("p", sentence) for sentence in said.details],
        _requests(result),
        class_=f"card hero {said.tone}",
    )


def tiles(result: Result) -> Html | None:
    """The few figures that a reader compares."""
    test, ceiling = result.get("test") or {}, result.get("ceiling") or {}
    latency, savings = result.get("latency_ms") or {}, result.get("savings") or {}
    n = f"{count(test.get('n'))} test decisions" if test.get("n") else "test decisions"
    ends = interval_text((test.get("interval") or {}).get("whole_call"))
    found = [
        ("Agrees with the teacher", percent(test.get("whole_call")), f"on all {n}, sent or not {ends}"),
        (
            "The teacher with itself",
            percent(ceiling.get("whole_call")),
            f"over {count(ceiling.get('pairs'))} repeats",
        ),
        (
            "Answers in",
            _milliseconds(latency.get("p50")),
            f"99 of 100 within {_milliseconds(latency.get('p99'))}",
        ),
        ("Learned in", duration(result.get("train_seconds")), _sizes(result)),
        (_saves(result), money(savings.get("yearly_usd")), "at your prices, net of audits"),
    ]
    shown = [_tile(*entry) for entry in found if entry[1] != percent(None)]
    return el("dl", shown, class_="tiles") if shown else None


def _tile(name: str, value: str, note: str) -> Html:
    return el("div", el("dt", name), el("dd", value, class_="value"), el("dd", note, class_="note"), class_="tile card")


def _requests(result: Result) -> Html | None:
    chosen, calls = primary_level(result), (result.get("data") or {}).get("calls_share")
    if chosen is None or not chosen[1].get("certified") or calls is None:
        return None
    sent = sent_share(chosen[1])
    audited = sent * ((result.get("savings") or {}).get("audit_rate") or 0.0)
    parts = [
        ("sent", "answered by the student", sent - audited),
        ("audited", "answered by the student, and checked with the teacher", audited),
        ("calls", "tool calls that stay with the teacher", max(0.0, calls - sent)),
        ("replies", "text replies that stay with the teacher", max(0.0, 1.0 - max(calls, sent))),
    ]
    shown = [(kind, text, share) for kind, text, share in parts if share > 0]
    bar = [el("span", class_=kind, style=f"flex: {share:.4f}") for kind, _, share in shown]
    key = [el("li", el("i", class_=kind), el("b", _of_hundred(share)), " ", text) for kind, text, share in shown]
    heading = el("h2", "Of 100 requests, about")
    drawn = el("div", bar, class_="bar", aria_hidden="true")
    return el("div", heading, drawn, el("ul", key, class_="key"), class_="requests")


def _of_hundred(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.01 else f"{100 * share:.1f}"


def _trust(result: Result, figures: dict[str, Any]) -> Html | None:
    plots = figure_cards(result, ["risk_coverage", "calibration"], figures)
    levels = _levels(result)
    if not plots and levels is None:
        return None
    said = (
        f"A call is sent only if the student is sure enough. How sure is enough was tested on {unit(result)} kept "
        "aside for that, so the guarantee holds for requests of the same kind."
    )
    return _section("trust", "Can it be trusted?", said, levels, el("div", plots, class_="grid") if plots else None)


def _levels(result: Result) -> Html | None:
    levels = result.get("levels") or {}
    if not levels:
        return None
    rows = [_level_row(result, float(key), level) for key, level in sorted(levels.items(), key=lambda i: float(i[0]))]
    head = ["Agreement demanded", "Certified", "Requests answered", "Agreement measured", "Teacher calls saved", "n"]
    actions = [_by_action(float(key), level) for key, level in levels.items() if level.get("by_action")]
    more = el("details", el("summary", "Show each tool"), actions) if actions else None
    said = "In brackets: what it would do without a guarantee. It does not: there, every request goes to the teacher."
    note = None if all(level.get("certified") for level in levels.values()) else el("p", said)
    body = table(head, rows, "Levels of agreement", 2)
    return el("div", el("h3", "What each demand costs"), note, body, more, class_="card")


def _level_row(result: Result, target: float, level: Level) -> list[Child]:
    agreement = level.get("certified_agreement") if level.get("certified") else None
    more = level.get("more_units")
    need = f"needs about {count(more)} more {unit(result, more)}" if more else clip(level.get("reason"), 160)
    certified = level.get("certified")
    answered, agrees = percent(sent_share(level)), percent(level.get("agreement") if agreement is None else agreement)
    return [
        level_name(target),
        el("span", "yes", class_="yes") if certified else el("span", f"no, {need}" if need else "no", class_="no"),
        answered if certified else f"({answered})",
        agrees if certified else f"({agrees})",
        percent(level.get("calls_saved")) if certified else "none yet",
        count(level.get("n")),
    ]


def _by_action(target: float, level: Level) -> Html:
    actions = sorted((level.get("by_action") or {}).items(), key=lambda item: -(item[1].get("n") or 0))
    rows: list[list[Child]] = [
        [clip(name, 80), percent(a.get("coverage")), percent(a.get("agreement")), count(a.get("n"))]
        for name, a in actions[:MAX_ROWS]
    ]
    head = ["Tool", "Answered", "Agreement", "n"]
    return join(el("h4", f"At {level_name(target)}"), table(head, rows, f"Each tool at {level_name(target)}"))


def _learned(result: Result, figures: dict[str, Any]) -> Html | None:
    wide = figure_cards(result, ["per_tool"], figures)
    pair = figure_cards(result, ["comparison", "learning_curve"], figures)
    extra = [card for card in (_ceiling(result), _recurring(result)) if card is not None]
    if not (wide or pair or extra):
        return None
    said = "Agreement over all test decisions, before the gate keeps back what the student is unsure of."
    body = [el("div", pair, class_="grid") if pair else None, wide, el("div", extra, class_="grid") if extra else None]
    return _section("tools", "What it learned", said, *body)


def _ceiling(result: Result) -> Html | None:
    ceiling = result.get("ceiling") or {}
    if not ceiling:
        return None
    rows = [
        _ceiling_row("the very same context", ceiling),
        _ceiling_row("same calls so far", ceiling.get("same_state") or {}),
    ]
    head = ["Compared in", "Tool and arguments", "Tool alone", "Pairs", "Tasks"]
    said = (
        "How often the teacher decides the same twice. No student that learns from it can be asked for more. "
        "With the same calls so far the user's words may differ, so that row is a lower bound."
    )
    body = table(head, [row for row in rows if row], "Agreement of the teacher with itself")
    by_tool: list[list[Child]] = [
        [clip(t.get("tool"), 80), percent(t.get("whole_call")), percent(t.get("same_tool")), count(t.get("pairs"))]
        for t in (ceiling.get("per_tool") or [])[:MAX_ROWS]
    ]
    head = ["Tool", "Tool and arguments", "Tool alone", "Pairs"]
    each = (
        el("details", el("summary", "Show each tool"), table(head, by_tool, "The same for each tool"))
        if by_tool
        else None
    )
    title = el("h3", "The ceiling: the teacher against itself")
    return el("div", title, el("p", said), body, _flips(ceiling.get("flips") or {}), each, class_="card")


def _flips(flips: Flips) -> Html | None:
    if not flips.get("recurring"):
        return None
    said = (
        f"{count(flips['recurring'])} decisions were made in a state that recurs word for word; of these "
        f"{count(flips['decisions'])} lie in states in which the teacher did not always decide the same, and "
        f"{count(flips['outvoted'])} are not what it mostly did there. They are learned as they are."
    )
    return el("p", said)


def _ceiling_row(name: str, found: SelfAgreement) -> list[Child]:
    if not found.get("pairs"):
        return []
    ends = interval_text((found.get("interval") or {}).get("whole_call"))
    whole = [percent(found.get("whole_call")), el("br"), ends] if ends else percent(found.get("whole_call"))
    return [name, whole, percent(found.get("tool")), count(found.get("pairs")), count(found.get("tasks"))]


def _recurring(result: Result) -> Html | None:
    recurring = result.get("recurring") or {}
    if not recurring:
        return None
    said = (
        f"{percent(recurring.get('share'))} of the test decisions have a context that stood in the training data "
        f"word for word; repeating what the teacher did there agrees in {percent(recurring.get('agreement'))}. "
        f"In contexts that are new, {percent(recurring.get('new_agreement'))} agree."
        if recurring.get("share")
        else "None: no test decision has a context that stood in the training data word for word."
    )
    return el("div", el("h3", "Requests that recur"), el("p", said), class_="card")


def _savings(result: Result) -> Html | None:
    savings = result.get("savings") or {}
    if not savings:
        return None
    said = f"Net of audits: {percent(savings.get('audit_rate'))} of the calls sent also go to the teacher, as a check."
    total = el("p", *_sum(savings), class_="sum")
    basis = el("p", "Prices: ", clip(savings.get("basis"), TEXT)) if savings.get("basis") else None
    title = "What it saves" if _is_certified(result) else "What it would save, once it is certified"
    return _section("savings", title, said, el("div", total, basis, class_="card"))


def _sum(savings: Savings) -> list[Child]:
    saved = percent(savings.get("calls_saved"))
    if savings.get("yearly_usd") is None:
        return [el("b", saved), " of the requests"]
    per_day, price = count(savings.get("requests_per_day")), money(savings.get("teacher_cost_usd"))
    total = el("b", f"{money(savings.get('yearly_usd'))} a year")
    return [f"{per_day} requests a day × 365 days × {saved} of them saved × {price} each = ", total]


def _saves(result: Result) -> str:
    return "Saves in a year" if _is_certified(result) else "Would save in a year"


def _is_certified(result: Result) -> bool:
    chosen = primary_level(result)
    return chosen is not None and bool(chosen[1].get("certified"))


def _next(result: Result) -> Html | None:
    steps = [el("li", clip(step, TEXT)) for step in (result.get("next_steps") or [])[:MAX_ITEMS]]
    return _section("next", "What to do next", None, el("ol", steps, class_="steps card")) if steps else None


def _reproduce(result: Result) -> Html | None:
    command = el("pre", clip(result.get("command"), 2000), tabindex=0) if result.get("command") else None
    rows: list[list[Child]] = [[name, value] for name, value in _facts(result) if value]
    certificate = [[clip(k, 40), clip(v, TEXT)] for k, v in (result.get("certificate") or {}).items()]
    full = table(["Field", "Value"], certificate[:MAX_ITEMS], "The certificate", 2) if certificate else None
    certified = el("details", el("summary", "Show the whole certificate"), full) if full else None
    facts = table(["What", "Value"], rows, "Data, method and versions", 2) if rows else None
    if not (command or facts or certified):
        return None
    said = "The same command on the same data, with the same seed and versions, gives the same decisions."
    card = el("div", command, facts, certified, class_="card")
    return _section("reproduce", "Data and method", said, card, _import_problems(result))


def _facts(result: Result) -> list[tuple[str, str]]:
    data, split, curation = result.get("data") or {}, result.get("split") or {}, result.get("curation") or {}
    parts = [f"{count(split.get(part))} {part}" for part in ("train", "calibration", "test") if part in split]
    names = ", ".join(clip(name, 120) for name in (data.get("files") or [])[:MAX_ITEMS])
    versions = ", ".join(f"{clip(k, 40)} {clip(v, 40)}" for k, v in (result.get("versions") or {}).items())
    kept = f"{count(curation.get('curated_count'))} of {count(curation.get('original_count'))} training decisions"
    return [
        ("Data", _sizes(result) if data else ""),
        ("Data id", clip(data.get("id"), 80)),
        ("Files", names),
        ("Kind", clip(data.get("kind"), 80)),
        ("Teacher", taught(data)),
        ("Split", f"{', '.join(parts)} decisions; no {unit(result, 1)} is in two parts" if parts else ""),
        ("Curation kept", kept if curation else ""),
        ("Model", clip(result.get("model_id"), 120)),
        ("Seed", clip(result.get("seed"), 20)),
        ("Versions", versions),
    ]


def _import_problems(result: Result) -> Html | None:
    problems = (result.get("errors") or [])[:MAX_ITEMS]
    if not problems:
        return None
    rows: list[list[Child]] = [[clip(p.get("reason"), 240), clip(p.get("lines"), 120)] for p in problems]
    body = table(["Reason", "Lines"], rows, "Input that was not used")
    return el("div", el("h3", "Input that was not used"), body, class_="card")


def _section(identity: str, title: str, said: str | None, *body: Child) -> Html:
    heading = el("h2", title, id=f"{identity}-title")
    text = el("p", said) if said else None
    return el(
        "section", heading, text, el("div", *body, class_="stack"), id=identity, aria_labelledby=f"{identity}-title"
    )


def _sizes(result: Result) -> str:
    data = result.get("data") or {}
    names = ("decisions", "episodes", "tasks")
    return ", ".join(f"{count(value)} {name}" for name in names if (value := data.get(name)) is not None)


def _milliseconds(value: float | None) -> str:
    if value is None:
        return percent(None)
    return f"{value:.2g} ms" if value < 10 else f"{value:,.0f} ms"
