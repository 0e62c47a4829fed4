"""Traces come in whole, once, and whatever is wrong with a line has a name."""

from __future__ import annotations

import gzip
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.errors import DataError
from ultracore.distillation.events import TracesImportedEvent, codec
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import decisions_from_log, import_files, rows_from_log
from ultracore.distillation.log.importers import lines
from ultracore.distillation.log.importers.lines import Skip
from ultracore.distillation.log.importers.openai_chat import Imported, read_openai_chat
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.tools import LOCAL_CALL_PREFIX

TOOLS = [
    {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {"q": {}}}}},
    {"type": "function", "function": {"name": "book"}},
]
USER = {"role": "user", "content": "a flight to Rome"}


def call(name: str = "search", arguments: Any = '{"q": "Rome"}', call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asks(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls or [call()]), **more}


def line(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages or [USER, asks()]), "tools": TOOLS, **more}


FULL = line(
    {"role": "system", "content": "You book flights."},
    {"role": "assistant", "content": "Hello!", "weight": 0},
    USER,
    asks(call(), call("book", {"id": 7}, "call_2")),
    {"role": "tool", "tool_call_id": "call_1", "content": "[]"},
    {"role": "tool", "tool_call_id": "call_2", "content": "ok"},
    {"role": "assistant", "content": "Done.", "weight": 1},
    metadata={
        "task": 4,
        "trial": 2,
        "episode": "4#2",
        "teacher": "gpt-4.1",
        "tenant": "acme",
        "agent": "flights",
        "split": "dev",
        "reward": 1.0,
    },
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Any, name: str = "traces.jsonl") -> Path:
        raw = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return write


def read(path: Path) -> list[Imported | Skip]:
    return list(read_openai_chat(path))


def test_a_conversation_becomes_decisions(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    report = import_files([write(FULL, name="traces.jsonl.gz")], store)
    assert (report.decisions, report.duplicates, report.episodes) == (2, 0, 1)
    assert report.skipped == {"weight_zero": [1]}
    first, second = rows_from_log(store)
    data_id = report.data_ids[0]
    assert [m["role"] for m in first["context"]["messages"]] == ["system", "assistant", "user"]
    assert first["tool_calls"] == [
        {"name": "search", "arguments": {"q": "Rome"}},
        {"name": "book", "arguments": {"id": 7}},
    ]
    assert (first["tool_selected"], first["tool_parameters"]) == ("search", {"q": "Rome"})
    assert first["tools_available"] == TOOLS
    assert (first["task"], first["trial"], first["step"], first["session_id"]) == ("4", 2, 0, f"{data_id}/4#2")
    assert (first["teacher_model"], first["tenant_id"], first["agent_id"]) == ("gpt-4.1", "acme", "flights")
    assert first["origin"] == {"file": "traces.jsonl.gz", "line": 1, "metadata": FULL["metadata"]}
    assert (first["source"], second["step"]) == ("import", 1)
    assert (second["tool_calls"], second["tool_selected"], second["reply"]) == ([], None, "Done.")
    assert second["context"]["messages"][3]["tool_calls"][1]["function"] == {"name": "book", "arguments": '{"id":7}'}
    call_, reply = decisions_from_log(store, tenant="acme", correlation=data_id)
    assert (call_.action, reply.is_call, call_.episode) == ("search", False, reply.episode)


def test_the_import_itself_is_a_fact(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    report = import_files([write(FULL, b"{")], store)
    (event,) = store.read(types=[TracesImportedEvent.event_type])
    assert isinstance(event, TracesImportedEvent)
    assert (event.data_id, event.decisions, event.skipped) == (report.data_ids[0], 2, {"weight_zero": 1, "not_json": 1})


def test_a_second_import_adds_nothing_and_says_so(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    plain = write(FULL, line())
    import_files([plain], store)
    before = store.last_position()
    again = import_files([plain, write(FULL, line(), name="same.jsonl.gz")], store)
    assert (again.decisions, again.duplicates, store.last_position()) == (0, 6, before)
    assert again.data_ids[0] == again.data_ids[1]
    grown = import_files([write(FULL, line(), line(USER, asks(call("book"))), name="grown.jsonl")], store)
    assert (grown.decisions, grown.duplicates) == (1, 3)


def test_tenants_do_not_share_events(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    path = write(line())
    assert [import_files([path], store, tenant=name).decisions for name in ("x", "y")] == [1, 1]


@pytest.mark.parametrize("other", ["y", "default"])
def test_a_tenant_reads_back_its_own_decisions_of_a_file(
    store: SqliteEventStore, write: Callable[..., Path], other: str
) -> None:
    earlier = write(line(), name="earlier.jsonl")
    grown = write(line(), line(USER, asks(call("book"))), name="grown.jsonl")
    for tenant in (other, "x"):
        read_traces([earlier], store, tenant)
        found = read_traces([grown], store, tenant).decisions
        assert [(d.tenant, d.calls[0].name) for d in found] == [(tenant, "search"), (tenant, "book")]


def test_what_a_file_says_of_another_tenant_is_not_read_back(
    store: SqliteEventStore, write: Callable[..., Path]
) -> None:
    theirs = line(USER, asks(call("book")), metadata={"tenant": "acme"})
    found = read_traces([write(line(), theirs)], store, "ours")
    assert [d.tenant for d in found.decisions] == ["ours"]
    assert {"reason": "decisions of another tenant", "lines": "1 of them", "n": 1} in found.problems
    with pytest.raises(DataError, match="DISTILL_TENANT=acme"):
        read_traces([write(theirs, name="theirs.jsonl")], store, "ours")


def test_equal_queries_are_one_task_and_lines_are_episodes(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    other_prompt = line({"role": "system", "content": "today is Monday"}, USER, asks(call("book")))
    greeted = line({"role": "assistant", "content": "Hi", "weight": 0}, {"role": "user", "content": "else"}, asks())
    import_files([write(line(), other_prompt, greeted, line({"role": "user", "content": "other"}, asks()))], store)
    tasks = [row["task"] for row in rows_from_log(store)]
    assert tasks[0] == tasks[1]
    assert len(set(tasks)) == 3
    assert len({row["session_id"] for row in rows_from_log(store)}) == 4


def test_request_and_response_are_one_decision(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    earlier = [USER, asks(), {"role": "tool", "tool_call_id": "call_1", "content": "none"}]
    pair = {
        "request": {"model": "gpt", "messages": earlier, "tools": TOOLS},
        "response": {"model": "gpt-2026", "choices": [{"message": {"role": "assistant", "content": "Sorry"}}]},
    }
    first = {**pair, "request": {**pair["request"], "messages": [USER]}}
    import_files([write(pair, first)], store)
    row, start = rows_from_log(store)
    assert (row["reply"], row["teacher_model"], len(row["context"]["messages"])) == ("Sorry", "gpt-2026", 3)
    assert row["task"] == start["task"]


def test_the_legacy_form_is_read(write: Callable[..., Path]) -> None:
    legacy = {
        "model": "gpt-3.5",
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "search", "arguments": '{"q": 1}'}},
            {"role": "function", "name": "search", "content": "[]"},
            {"role": "assistant", "content": "none"},
        ],
        "functions": [{"name": "search", "parameters": {}}],
    }
    first, second = read(write(legacy))
    assert isinstance(first, Imported)
    assert isinstance(second, Imported)
    assert (first.event.tool_parameters, first.event.teacher_model) == ({"q": 1}, "gpt-3.5")
    messages = second.event.context["messages"]
    assert messages[2]["role"] == "tool"
    assert messages[2]["tool_call_id"] == messages[1]["tool_calls"][0]["id"]


def test_content_parts_are_text_where_they_are_all_text(write: Callable[..., Path]) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    (item,) = read(write(line({"role": "user", "content": parts}, {"role": "user", "content": image}, asks())))
    assert isinstance(item, Imported)
    assert [m["content"] for m in item.event.context["messages"]] == ["a\nb", image]


def test_without_tools_those_called_stand_for_them(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    report = import_files([write({"messages": [USER, asks(), {"role": "assistant", "content": "ok"}]})], store)
    assert report.notes == {"tools_missing": 1}
    assert rows_from_log(store)[1]["tools_available"] == [{"type": "function", "function": {"name": "search"}}]


def test_arguments_that_were_not_recorded_stay_unknown(write: Callable[..., Path]) -> None:
    (item,) = read(write(line(USER, asks({"id": "c", "type": "function", "function": {"name": "book"}}))))
    assert isinstance(item, Imported)
    assert item.event.tool_parameters is None


def test_what_a_student_answered_is_context_only(write: Callable[..., Path]) -> None:
    local = asks(call(call_id=LOCAL_CALL_PREFIX + "1"))
    skip, item = read(write(line(USER, local, {"role": "assistant", "content": "ok"})))
    assert skip[:2] == (1, "answered_locally")
    assert isinstance(item, Imported)
    assert len(item.event.context["messages"]) == 2


DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_TEXT = "[" * 500 + "]" * 500
FAULTS: list[tuple[str, Any]] = [
    ("not_json", b"{"),
    ("not_json", json.dumps(line()).encode()[:-30]),
    ("not_json", b'{"messages": NaN}'),
    ("not_json", b'{"messages": 1e999}'),
    ("not_json", b'{"messages": ' + b"9" * 5000 + b"}\x00"),
    ("not_json", b"\x00\x01\x02"),
    ("not_json", b'{"a": "\x00"}'),
    ("too_deep", DEEP),
    ("too_deep", b'{"messages": ' + b"[" * 800 + b"]" * 800 + b"}"),
    ("bad_encoding", b'{"messages": "\xff\xfe"}'),
    ("bad_encoding", json.dumps(line({"role": "user", "content": "\ud83d"}, asks())).encode()),
    ("not_an_object", b"[]"),
    ("not_an_object", b'"text"'),
    ("not_an_object", b"null"),
    ("empty_line", b""),
    ("empty_line", b" \t\r"),
    ("no_messages", {}),
    ("no_messages", {"messages": []}),
    ("no_messages", {"messages": {"role": "user"}}),
    ("bad_message", line("text")),
    ("bad_message", line({"role": "user", "content": 5})),
    ("bad_message", line(USER, {"role": "assistant", "tool_calls": "search"})),
    ("bad_message", line(USER, {"role": "assistant", "tool_calls": ["search"]})),
    ("unknown_role", line({"role": "robot", "content": ""})),
    ("unknown_role", line({"content": ""})),
    ("bad_tools", line() | {"tools": "search"}),
    ("bad_tools", line() | {"tools": [{"type": "web_search"}]}),
    ("bad_metadata", line(metadata={"tenant": "a\0b"})),
    ("not_json", b'{"messages": [], "n": ' + b"9" * 5000 + b"}"),
    ("no_tools", {"messages": [USER, {"role": "assistant", "content": "hi"}]}),
    ("no_decision", line(USER)),
    ("no_response", {"request": line(USER), "response": {"error": {"code": 500}}}),
    ("no_response", {"request": line(USER)}),
    ("bad_call", line(USER, asks({"id": "c", "type": "custom", "custom": {"name": "sql", "input": "x"}}))),
    ("bad_call", line(USER, asks(call("")))),
    ("bad_arguments", line(USER, asks(call(arguments="{")))),
    ("bad_arguments", line(USER, asks(call(arguments="[1]")))),
    ("bad_arguments", line(USER, asks(call(arguments='{"q": NaN}')))),
    ("bad_arguments", line(USER, asks(call(arguments='{"q": 1e999}')))),
    ("bad_arguments", line(USER, asks(call(arguments='{"q": "\\ud83d"}')))),
    ("bad_arguments", line(USER, asks(call(arguments=f'{{"q": {DEEP_TEXT}}}')))),
    ("bad_arguments", line(USER, asks(call(arguments=f'{{"q": {"[" * 100_000}}}')))),
    ("bad_arguments", line(USER, asks(call(arguments=5)))),
    ("tool_not_offered", line(USER, asks(call("invented")))),
    ("weight_zero", line(USER, asks(weight=0))),
    ("duplicate", line()),
]


@pytest.mark.parametrize(("reason", "fault"), FAULTS, ids=[f"{i}-{reason}" for i, (reason, _) in enumerate(FAULTS)])
def test_every_fault_has_a_name_and_a_line(
    store: SqliteEventStore, write: Callable[..., Path], reason: str, fault: Any
) -> None:
    report = import_files([write(line(), fault, line({"role": "user", "content": "after"}, asks()))], store)
    assert report.skipped == {reason: [2]}
    assert report.decisions == 2
    assert len(decisions_from_log(store)) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_says_how_to_convert_it(store: SqliteEventStore, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "wide.jsonl"
    path.write_text(json.dumps(line()), encoding=encoding)
    (skip,) = read(path)
    assert skip[:2] == (1, "bad_encoding")
    assert "iconv" in skip[2]
    with pytest.raises(DataError, match="bad_encoding"):
        import_files([path], store)


def test_byte_order_mark_and_line_ends_do_not_matter(store: SqliteEventStore, tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row).encode() for row in (line(), FULL)))
    assert import_files([path], store).decisions == 3


def test_a_gzip_file_that_was_cut_gives_what_is_left(store: SqliteEventStore, tmp_path: Path) -> None:
    rows = b"".join(json.dumps(line({"role": "user", "content": f"{i}"}, asks())).encode() + b"\n" for i in range(5000))
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(rows)[:-2000])
    report = import_files([path], store)
    assert 0 < report.decisions < 5000
    assert report.skipped["damaged_gzip"][0] > report.decisions


def test_a_gzip_file_with_a_flipped_byte_is_no_crash(store: SqliteEventStore, tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(b"".join(json.dumps(line(USER, asks(), n=i)).encode() + b"\n" for i in range(300))))
    for place in range(10, len(raw), 97):
        path = tmp_path / f"{place}.gz"
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :])
        assert all(isinstance(item, Imported | Skip) for item in read(path))


def test_a_line_beyond_the_limit_is_not_held_in_memory(
    store: SqliteEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1024**2)
    path = tmp_path / "long.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(150):
            file.write(b"x" * 1024**2)
        file.write(b"\n" + json.dumps(line()).encode() + b"\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = import_files([path], store)
    assert (report.skipped, report.decisions) == ({"line_too_long": [1]}, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_progress_counts_bytes_of_the_file(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    path = write(*[line(USER, asks(), pad="x" * 50_000, n=n) for n in range(60)])
    seen: list[tuple[Path, int, int]] = []
    import_files([path], store, on_progress=lambda *told: seen.append(told))
    size = path.stat().st_size
    assert seen[-1] == (path, size, size)
    assert len(seen) >= 3
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_an_interrupted_import_leaves_the_log_as_it_was(store: SqliteEventStore, write: Callable[..., Path]) -> None:
    def interrupt(path: Path, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_files([write(FULL)], store, on_progress=interrupt)
    assert store.last_position() == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file"),
        (b"", "empty"),
        (b"\n\n", "no decision"),
        (b"[\n1]", "no decision"),
        (b'{"messages":[]}', "no_messages"),
    ],
)
def test_a_file_without_decisions_says_what_to_do(
    store: SqliteEventStore, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "traces.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        import_files([path], store)
    assert store.last_position() == 0


def test_a_folder_or_nothing_is_no_file(store: SqliteEventStore, tmp_path: Path) -> None:
    for paths in ([], [tmp_path]):
        with pytest.raises(DataError):
            import_files(paths, store)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["assistant", "user", "search"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "tool_calls", "function", "name", "arguments", "messages", "id", "weight"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(
    messages=st.lists(json_values, max_size=4),
    tools=json_values,
    metadata=json_values,
    cut=st.integers(0, 300),
    wrap=st.booleans(),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_line_whatever_raises(
    write: Callable[..., Path], messages: list[Any], tools: Any, metadata: Any, cut: int, wrap: bool
) -> None:
    body = {"messages": [USER, *messages, asks()], "tools": tools, "metadata": metadata}
    row = {"request": body, "response": metadata} if wrap else body
    text = json.dumps(row).encode()
    for item in read(write(row, text[:cut] + text[cut + 1 :])):
        assert isinstance(item, Skip) or codec.encode(item.event)
