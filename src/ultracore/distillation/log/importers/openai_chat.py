"""Reads OpenAI chat and fine-tuning JSONL, and logged request/response pairs: one line, one conversation.

Each message of the assistant is a decision, except those with `weight` 0. What cannot be one is a
`Skip` with its reason, never an error. What this file does not know: the log, and other lines of the
file but whether they are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.log.importers.lines import Progress, Skip, SkipReason, content_hash, read_lines
from ultracore.distillation.log.importers.messages import BadMessage, normal_messages
from ultracore.distillation.tools import LOCAL_CALL_PREFIX, canonical_json, fingerprint, parse_call, parse_tool

__all__ = ["TOOLS_MISSING", "Imported", "read_openai_chat"]

MAX_DEPTH = 100
TOOLS_MISSING = "tools_missing"
"""Note: the line names no tools; those called in the conversation stand for them, as bare names."""

Message = dict[str, Any]


class Imported(NamedTuple):
    """A decision that was read.

    Attributes:
        event: It.
        line: Where it stands.
        notes: What had to be assumed.
    """

    event: AgentDecisionEvent
    line: int
    notes: tuple[str, ...] = ()


class Conversation(NamedTuple):
    """One line, checked.

    Attributes:
        messages: In OpenAI's current form.
        weights: The weight of each message.
        decisions: Indices of the messages that are decisions.
        tools: Definitions in OpenAI's nested form.
        metadata: What the line says about itself.
        teacher: The model.
        user: The person on whose behalf.
        key: Hash of the whole line.
        notes: What had to be assumed.
    """

    messages: list[Message]
    weights: list[Any]
    decisions: list[int]
    tools: list[dict[str, Any]]
    metadata: dict[str, Any]
    teacher: str | None
    user: str | None
    key: str
    notes: tuple[str, ...]


class _Unusable(Exception):  # noqa: N818 - never leaves this file
    """A line or a decision is left out."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason: SkipReason = reason
        self.detail = detail


def read_openai_chat(
    path: Path,
    *,
    tenant: str = "default",
    agent_id: str | None = None,
    data_id: str | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Imported | Skip]:
    """Read a file, plain or gzip, in the order of its lines.

    Args:
        path: The file.
        tenant: Whose data it is, where a line's metadata does not say.
        agent_id: Whose decisions these are, where a line's metadata does not say.
        data_id: `content_hash` of the file, if it is known already.
        on_progress: See `Progress`.

    Raises:
        DataError: The file cannot be opened or read.
    """
    source = _Source(path.name, data_id or content_hash(path), tenant, agent_id or "imported")
    seen: set[bytes] = set()
    for line in read_lines(path, on_progress):
        if isinstance(line, Skip):
            yield line
            continue
        try:
            conversation = _conversation(line.raw)
            if _seen_before(conversation.key, seen):
                raise _Unusable("duplicate", "the same line came before in this file")
        except _Unusable as error:
            yield Skip(line.number, error.reason, error.detail)
            continue
        yield from _decisions(conversation, line.number, source)


class _Source(NamedTuple):
    file: str
    data_id: str
    tenant: str
    agent_id: str


def _decisions(conversation: Conversation, line: int, source: _Source) -> Iterator[Imported | Skip]:
    step = 0
    for index in conversation.decisions:
        try:
            event = _event(conversation, index, step, line, source)
        except _Unusable as error:
            yield Skip(line, error.reason, error.detail)
        else:
            yield Imported(event, line, conversation.notes)
        step += conversation.weights[index] != 0


def _event(conversation: Conversation, index: int, step: int, line: int, source: _Source) -> AgentDecisionEvent:
    message, metadata = conversation.messages[index], conversation.metadata
    if conversation.weights[index] == 0:
        raise _Unusable("weight_zero")
    calls = _calls(message, {tool["function"]["name"] for tool in conversation.tools})
    tenant = _string(metadata.get("tenant")) or source.tenant
    episode = _string(metadata.get("episode"))
    first = calls[0] if calls else {"name": None, "arguments": None}
    return AgentDecisionEvent.record(
        event_id=fingerprint_long([tenant, conversation.key, index]),
        tenant_id=tenant,
        correlation_id=source.data_id,
        agent_id=_string(metadata.get("agent")) or source.agent_id,
        session_id=f"{source.data_id}/{episode or line}",
        context={"messages": conversation.messages[:index]},
        tools_available=conversation.tools,
        tool_selected=first["name"],
        tool_parameters=first["arguments"],
        tool_calls=calls,
        reply=message["content"] if isinstance(message.get("content"), str) else None,
        teacher_model=conversation.teacher,
        user_id=conversation.user,
        source="import",
        task=_string(metadata.get("task")) or _opening(conversation),
        trial=_whole(metadata.get("trial")),
        step=step,
        origin={"file": source.file, "line": line, **({"metadata": metadata} if metadata else {})},
    )


def _calls(message: Message, offered: set[str]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls") or []
    if any(str(call.get("id") or "").startswith(LOCAL_CALL_PREFIX) for call in calls):
        raise _Unusable("answered_locally")
    out = []
    for value in calls:
        if not _string(_function(value).get("name")):
            raise _Unusable("bad_call", "a call without a function name")
        try:
            call = parse_call(value)
        except DataError as error:
            raise _Unusable("bad_arguments", str(error)) from None
        if _deeper_than(call.arguments, MAX_DEPTH):
            raise _Unusable("bad_arguments", f"the arguments of {call.name} are nested too deeply")
        if call.name not in offered:
            raise _Unusable("tool_not_offered", call.name)
        out.append({"name": call.name, "arguments": call.arguments})
    return out


def _conversation(raw: bytes) -> Conversation:
    line = _decode(raw)
    if not isinstance(line, dict):
        raise _Unusable("not_an_object", _array_hint(raw))
    request, answer = line.get("request"), None
    if isinstance(request, dict):
        answer = _answer(line.get("response"))
    body: dict[str, Any] = request if isinstance(request, dict) else line
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise _Unusable("no_messages", "a line needs a list 'messages'")
    given = given if answer is None else [*given, answer]
    messages = _messages(given)
    tools, notes = _tools(body, messages)
    decisions = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if not decisions:
        raise _Unusable("no_decision", "no message of an assistant")
    metadata = {**_mapping(body.get("metadata")), **_mapping(line.get("metadata"))}
    if "\0" in str(metadata.get("tenant")):
        raise _Unusable("bad_metadata", "the tenant holds NUL")
    return Conversation(
        messages=messages,
        weights=[message.get("weight") for message in given],
        decisions=decisions if answer is None else decisions[-1:],
        tools=tools,
        metadata=metadata,
        teacher=_teacher(metadata, _mapping(line.get("response")), body),
        user=_user(metadata, body),
        key=fingerprint_long(line),
        notes=notes,
    )


def _decode(raw: bytes) -> Any:
    try:
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise _Unusable("too_deep") from None
    except UnicodeDecodeError as error:
        raise _Unusable("bad_encoding", f"not UTF-8: {error}") from None
    except msgspec.DecodeError as error:
        raise _why_undecodable(raw, str(error)) from None
    if _deeper_than(value, MAX_DEPTH):
        raise _Unusable("too_deep", f"more than {MAX_DEPTH} levels")
    return value


def _why_undecodable(raw: bytes, detail: str) -> _Unusable:
    """Ask the lenient parser, so that NaN and half a character are not just called bad JSON."""
    try:
        json.dumps(json.loads(raw), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _Unusable("bad_encoding", "a lone surrogate is not Unicode text")
    except (ValueError, RecursionError):
        return _Unusable("not_json", detail)
    return _Unusable("not_json", "NaN, Infinity or a number out of range is not JSON")


def _messages(given: list[Any]) -> list[Message]:
    try:
        return normal_messages(given)
    except BadMessage as error:
        raise _Unusable(error.reason, error.detail) from None


def _answer(response: Any) -> Any:
    choices = response.get("choices") if isinstance(response, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise _Unusable("no_response", "response.choices[0].message is missing")
    return {"role": "assistant", **message}


def _tools(body: Mapping[str, Any], messages: Sequence[Message]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    given = body.get("tools") or body.get("functions")
    notes: tuple[str, ...] = ()
    if not given:
        given, notes = _called(messages), (TOOLS_MISSING,)
    if not given:
        raise _Unusable("no_tools", "nothing was offered and nothing was called")
    if not isinstance(given, list):
        raise _Unusable("bad_tools", "'tools' is not a list")
    try:
        return [parse_tool(tool).to_openai() for tool in given], notes
    except DataError as error:
        raise _Unusable("bad_tools", str(error)) from None


def _called(messages: Sequence[Message]) -> list[str]:
    names = (_string(_function(call).get("name")) for m in messages for call in m.get("tool_calls") or ())
    return sorted({name for name in names if name})


def _opening(conversation: Conversation) -> str:
    """Names the task by what was said before the assistant first answered a user: equal queries, equal task."""
    asked, opening = False, []
    for message in conversation.messages[: conversation.decisions[-1]]:
        if asked and message["role"] == "assistant":
            break
        asked = asked or message["role"] == "user"
        if message["role"] not in ("system", "developer"):
            opening.append(message)
    return fingerprint(opening or conversation.messages[: conversation.decisions[0]])


def _teacher(metadata: Mapping[str, Any], response: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
    candidates = (metadata.get("teacher"), metadata.get("model"), response.get("model"), body.get("model"))
    return next((name for name in map(_string, candidates) if name), None)


def _user(metadata: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
    candidates = (metadata.get("user_id"), body.get("safety_identifier"), body.get("user"))
    return next((name for name in map(_string, candidates) if name), None)


def _seen_before(key: str, seen: set[bytes]) -> bool:
    short = bytes.fromhex(key)
    if short in seen:
        return True
    seen.add(short)
    return False


def fingerprint_long(value: Any) -> str:
    """128 bits of the SHA-256 of the canonical JSON: collisions do not happen by chance."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:32]


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested deeper than `limit`, found without recursion."""
    level = [value]
    for _ in range(limit):
        level = [item for part in level for item in _children(part)]
        if not level:
            return False
    return True


def _children(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = call.get("function")
    return inner if isinstance(inner, Mapping) else call


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _array_hint(raw: bytes) -> str:
    return "a JSON array; write one conversation a line instead (jq -c '.[]')" if raw.startswith(b"[") else ""
