"""An event in words, on one line: who did what, why, and how it ended.

Text of others may hold anything; what a terminal would obey is shown, not sent. What this file does not
know: terminals and colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ultracore.distillation.events import Event
from ultracore.distillation.tools import REPLY

__all__ = ["LONGEST", "in_words", "plain"]

LONGEST = 160
"""Characters of one value: a longer one is cut."""

Data = Mapping[str, Any]


def in_words(event: Event, longest: int = LONGEST) -> str:
    """What happened; an event type without words of its own shows its data.

    Args:
        event: Of any type.
        longest: Characters after which a text of somebody else is cut.

    Example:
        >>> from ultracore.distillation.events import RetrainTriggeredEvent
        >>> in_words(RetrainTriggeredEvent.record(model_id="m", reason="scheduled"))
        'model m is to be trained anew: scheduled'
    """
    value = event.to_dict()
    words = _WORDS.get(event.event_type, _any)
    erased = " (erased)" if event.metadata.erased else ""
    return plain(words(value["data"], longest), 8 * longest) + erased


def plain(text: object, longest: int = LONGEST) -> str:
    """A text on one line, cut, with everything unprintable made visible.

    Example:
        >>> plain("a" + chr(10) + "b"), len(plain(chr(27)))
        ('a b', 4)
    """
    short = " ".join(str(text)[: longest + 1].split())
    short = short if len(short) <= longest else short[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)


def _decision(d: Data, longest: int) -> str:
    serving = d["serving"] or {}
    who = {"student": "the student", "import": f"{d['teacher_model'] or 'a teacher'} (imported)"}.get(
        d["source"], d["teacher_model"] or "the teacher"
    )
    did = _calls(d, longest) or (f'replied "{plain(d["reply"], longest)}"' if d["reply"] else "replied")
    notes = [f"confidence {d['confidence']:.2f}"] if d["confidence"] is not None else []
    if serving.get("model_id") and d["source"] == "student":
        notes.append(f"model {serving['model_id']}")
    if serving.get("reason") and d["source"] != "student":
        notes.append(f"escalated: {serving['reason']}")
    why = f' because "{plain(d["reasoning"], longest)}"' if d["reasoning"] else ""
    return f"{d['agent_id']}: {who} {did}{why}" + (f" ({', '.join(notes)})" if notes else "")


def _calls(d: Data, longest: int) -> str:
    calls = d["tool_calls"]
    if calls is None:
        calls = [{"name": d["tool_selected"], "arguments": d["tool_parameters"]}] if d["tool_selected"] else []
    named = [call for call in calls if isinstance(call, Mapping) and call.get("name") not in (None, "", REPLY)]
    return "called " + " and ".join(_call(call, longest) for call in named) if named else ""


def _call(call: Data, longest: int) -> str:
    arguments = call.get("arguments")
    if not isinstance(arguments, Mapping):
        return f"{call['name']}(?)"
    return f"{call['name']}({plain(', '.join(f'{k}={_json(v)}' for k, v in arguments.items()), longest)})"


def _outcome(d: Data, longest: int) -> str:
    took = f" after {d['execution_time_ms']:,.0f} ms" if d["execution_time_ms"] is not None else ""
    cost = f", ${d['cost_usd']:g}" if d["cost_usd"] else ""
    error = f": {plain(d['error'], longest)}" if d["error"] else ""
    return f"decision {d['decision_id']} ended {d['status']}{took}{cost}{error}"


def _attempt(d: Data, longest: int) -> str:
    asked = f"{d['model']} asked for decision {d['decision_id']} ({d['role']}, attempt {d['attempt']})"
    code = f" {d['http_status']}" if d["http_status"] else ""
    error = f": {plain(d['error'], longest)}" if d["error"] else ""
    return f"{asked}: {d['status']}{code} after {d['duration_ms']:,.0f} ms{error}"


def _audit(d: Data, longest: int) -> str:
    said = {True: "the teacher agrees", False: "the teacher differs", None: "the teacher could not be asked"}
    calls = " and ".join(_call(call, longest) for call in d["teacher_calls"] if call.get("name"))
    instead = f", it would call {calls}" if d["agrees"] is False and calls else ""
    return f"audit of decision {d['decision_id']} ({d['action']}): {said[d['agrees']]}{instead}"


def _session_ended(d: Data, _: int) -> str:
    figures = f"{d['decision_count']:,} decisions, {d['successful_decisions']:,} successful"
    return f"session {d['session_id']} of {d['agent_id']} ended after {d['duration_seconds']:,.1f} s: {figures}"


def _imported(d: Data, _: int) -> str:
    skipped = ", ".join(f"{reason} {n}" for reason, n in d["skipped"].items())
    left = f"; lines left out: {skipped}" if skipped else ""
    return f"{d['file_name']}: {d['decisions']:,} decisions imported, {d['duplicates']:,} known{left}"


def _manifest(d: Data, _: int) -> str:
    parts = ", ".join(f"{part} {n:,}" for part, n in Counter[str](d["parts"]).items())
    return f"data set {d['dataset_id']} lists its decisions ({d['chunk']} of {d['chunks']}): {parts}"


def _curated(d: Data, _: int) -> str:
    return f"data set {d['dataset_id']}: {d['curated_count']:,} decisions left of {d['source_event_count']:,}"


def _prompt(d: Data, longest: int) -> str:
    score = f", scores {d['score']:.1%} on {d['examples']} examples" if d["score"] is not None else ""
    return f'prompt {d["prompt_id"]} of {d["agent_id"]} ({d["method"]}){score}: "{plain(d["text"], longest)}"'


def _prompts(d: Data, _: int) -> str:
    change = f"{d['accuracy_before']:.1%} -> {d['accuracy_after']:.1%}"
    return f"prompts of {', '.join(d['agent_ids'])} optimized by {d['optimization_method']}: {change}"


def _trained(d: Data, _: int) -> str:
    learned = f"{d['decisions']:,} decisions of data set {d['dataset_id']}"
    return f"model {d['model_id']} learned from {learned} in {d['training_seconds']:.1f} s, seed {d['seed']}"


def _evaluated(d: Data, _: int) -> str:
    whole = d["metrics"].get("whole_call", d["metrics"].get("accuracy"))
    share = f"{whole:.1%} whole calls as the teacher's" if isinstance(whole, float) else "measured"
    return f"model {d['model_id']}: {share} ({d['decisions']:,} decisions)"


def _certificate(d: Data, longest: int) -> str:
    issued = d["certificate"]
    if not d["certified"]:
        return f"model {d['model_id']} is not certified: {plain(issued.get('reason', ''), longest)}"
    figures = f"at {100 * issued.get('target', 0):g}%, would send {issued.get('coverage', 0):.1%} of the decisions"
    return f"model {d['model_id']} is certified {figures}"


def _deployed(d: Data, longest: int) -> str:
    instead = f" instead of {d['replaces']}" if d["replaces"] else ""
    why = f": {plain(d['reason'], longest)}" if d["reason"] else ""
    return f"model {d['model_id']} answers now{instead}{why}"


def _loop(d: Data, longest: int) -> str:
    return plain(f"{d['agent']}: {d['action']}: {'; '.join(d['reasons'])}", longest)


def _drift(d: Data, _: int) -> str:
    return f"drift of model {d['model_id']} by {d['detector']}: {d['drift_score']:.3f}, limit {d['threshold']:g}"


def _alert(d: Data, longest: int) -> str:
    value = f" ({d['value']:g}, limit {d['limit']:g})" if None not in (d["value"], d["limit"]) else ""
    return f"{d['severity']} {d['name']}: {plain(d['message'], longest)}{value}"


def _says(template: str) -> Callable[[Data, int], str]:
    return lambda d, longest: template.format(**{key: plain(value, longest) for key, value in d.items()})


def _shadow(d: Data, _: int) -> str:
    did = "would send" if d["would_send"] else "would not send"
    return f"model {d['model_id']} in the shadow {did} {d['action']} for decision {d['decision_id']}"


def _feedback(d: Data, longest: int) -> str:
    error = f": {plain(d['error'], longest)}" if d["error"] else ""
    return f"feedback on decision {d['decision_id']}: {'right' if d['success'] else 'wrong'}{error}"


def _quality(d: Data, _: int) -> str:
    breaches = ", ".join(d["breaches"]) or "none"
    return f"quality of {d['product_id']} measured on {d['rows']:,} rows; breaches: {breaches}"


def _because(template: str) -> Callable[[Data, int], str]:
    """As `_says`, with the reason behind it where somebody gave one."""
    plainly, why = _says(template), _says(template + ": {reason}")
    return lambda d, longest: (why if d["reason"] else plainly)(d, longest)


def _any(d: Data, longest: int) -> str:
    return plain(
        ", ".join(f"{key}={_json(value)}" for key, value in d.items() if value not in (None, [], {}, "")), longest
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_WORDS: dict[str, Callable[[Data, int], str]] = {
    "AGENT_TOOL_SELECTED": _decision,
    "ALERT_RAISED": _alert,
    "ALERT_RESOLVED": _says("alert {alert_id} is over: {reason}"),
    "AUDIT_RECORDED": _audit,
    "CERTIFICATE_DECIDED": _certificate,
    "CERTIFICATE_REVOKED": _says("the certificate of model {model_id} is revoked: {reason}"),
    "DATASET_MANIFEST_RECORDED": _manifest,
    "DECISION_OUTCOME_RECORDED": _outcome,
    "DRIFT_DETECTED": _drift,
    "FEEDBACK_RECORDED": _feedback,
    "GATEWAY_KEY_ISSUED": _says("key {key_id} is issued to {name}, scope {scope}"),
    "GATEWAY_KEY_REVOKED": _because("key {key_id} is revoked"),
    "GATEWAY_PAUSED": _because("everything goes to the teacher"),
    "GATEWAY_RESUMED": _because("the student answers again what it may"),
    "LOOP_DECIDED": _loop,
    "MODEL_DEPLOYED": _deployed,
    "MODEL_EVALUATED": _evaluated,
    "MODEL_REJECTED": _says("model {model_id} does not answer: {reason}"),
    "MODEL_ROLLED_BACK": _says("model {model_id} is rolled back to {to_model_id}: {reason}"),
    "MODEL_STAGED": _says("model {model_id} goes to {stage}: {reason}"),
    "MODEL_TRAINED": _trained,
    "PRODUCT_EXPORTED": _says("{rows} rows of {product_id} are exported as {format}"),
    "PRODUCT_QUALITY_MEASURED": _quality,
    "PRODUCT_REGISTERED": _says("{product_id} is offered under contract {contract_version}"),
    "PROMPTS_OPTIMIZED": _prompts,
    "PROMPT_ANSWERED": _says("optimization {run_id} was told what it had asked ({question})"),
    "PROMPT_CHOSEN": _says("prompt {prompt_id} of {agent_id} is in use: {reason}"),
    "PROMPT_VERSION_RECORDED": _prompt,
    "RETENTION_APPLIED": _says("retention: what was before {before} cannot be read any more ({keys} keys)"),
    "RETRAIN_TRIGGERED": _says("model {model_id} is to be trained anew: {reason}"),
    "SESSION_ENDED": _session_ended,
    "SESSION_STARTED": _says("session {session_id} of {agent_id} began"),
    "SHADOW_RECORDED": _shadow,
    "SUBJECT_ERASED": _says("subject {subject} was erased ({reason}); models to train anew: {models}"),
    "TOOL_SCHEMA_CHANGED": _says("tool {tool} is offered otherwise than model {model_id} was certified for"),
    "TRACES_IMPORTED": _imported,
    "TRAINING_DATA_CURATED": _curated,
    "UPSTREAM_ATTEMPTED": _attempt,
}
