"""Files of traces that are broken in some fifty ways: no crash, a line number and a reason, all or nothing, once.

Every class of fault makes as many different files as it is asked for; a few in the everyday tests, 250 each in the
long ones.
"""

from __future__ import annotations

import codecs
import gzip
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard

from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import ImportReport, import_files
from ultracore.distillation.log.importers import lines as limits

TOOLS = [
    {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {"q": {}}}}}
]
FEW = 2
MANY = 250


class Broken(NamedTuple):
    """A file, what must be said of it, and how many decisions must come out of it."""

    content: bytes
    reason: str = ""
    line: int = 0
    decisions: int | None = None


def good(draw: random.Random) -> dict[str, Any]:
    text = f"a flight to {draw.randrange(10**9)} {chr(draw.randrange(0x4E00, 0x9FFF))}"
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": json.dumps({"q": text})}}
    return {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "tool_calls": [call]}],
        "tools": TOOLS,
    }


def raw(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def with_line(make: Callable[[random.Random], bytes], reason: str) -> Callable[[random.Random], Broken]:
    """Good lines with a broken one among them, which is never the first."""

    def broken(draw: random.Random) -> Broken:
        rows = [raw(good(draw)) for _ in range(draw.randrange(2, 6))]
        place = draw.randrange(1, len(rows) + 1)
        rows.insert(place, make(draw))
        return Broken(b"\n".join(rows) + b"\n", reason, place + 1, len(rows) - 1)

    return broken


def with_value(
    change: Callable[[dict[str, Any], random.Random], Any], reason: str
) -> Callable[[random.Random], Broken]:
    """As `with_line`: a good line of which something was changed."""

    def make(draw: random.Random) -> bytes:
        line = good(draw)
        changed = change(line, draw)
        return raw(line if changed is None else changed)

    return with_line(make, reason)


def whole(
    make: Callable[[bytes, random.Random], bytes], reason: str = "", line: int = 0
) -> Callable[[random.Random], Broken]:
    """A good file of which all bytes were changed."""

    def broken(draw: random.Random) -> Broken:
        n = draw.randrange(2, 6)
        content = b"".join(raw(good(draw)) + b"\n" for _ in range(n))
        return Broken(make(content, draw), reason, line, 0 if reason else n)

    return broken


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(1, len(content))]


def arguments(value: Any) -> Callable[[dict[str, Any], random.Random], None]:
    return lambda line, _: line["messages"][1]["tool_calls"][0]["function"].update(arguments=value)


def message(value: Any) -> Callable[[dict[str, Any], random.Random], None]:
    return lambda line, _: line["messages"].insert(0, value)


def cut_gzip(draw: random.Random) -> Broken:
    rows = [raw(good(draw)) for _ in range(300)]
    packed = gzip.compress(b"\n".join(rows))
    return Broken(packed[: draw.randrange(len(packed) // 2, len(packed) - 8)], "damaged_gzip", 0, None)


def flipped_gzip(draw: random.Random) -> Broken:
    packed = bytearray(gzip.compress(b"\n".join(raw(good(draw)) for _ in range(50))))
    packed[draw.randrange(20, len(packed) - 8)] ^= 1 << draw.randrange(8)
    return Broken(bytes(packed), "?", 0, None)


def last_line_cut(draw: random.Random) -> Broken:
    rows = [raw(good(draw)) for _ in range(3)]
    rows[2] = rows[2][: draw.randrange(1, len(rows[2]) - 1)]
    return Broken(b"\n".join(rows), "not_json" if rows[2][-1:].isascii() else "?", 3, 2)


def duplicated(draw: random.Random) -> Broken:
    rows = [raw(good(draw)) for _ in range(3)]
    return Broken(b"\n".join([*rows, rows[draw.randrange(3)]]), "duplicate", 4, 3)


def mixed_versions(draw: random.Random) -> Broken:
    new, other = good(draw), good(draw)
    old_call = {"role": "assistant", "content": None, "function_call": {"name": "search", "arguments": '{"q": 1}'}}
    old = {"messages": [other["messages"][0], old_call], "functions": [TOOLS[0]["function"]]}
    pair = {
        "request": {"messages": good(draw)["messages"][:1], "tools": TOOLS},
        "response": {"choices": [{"message": new["messages"][1]}]},
    }
    future = {**good(draw), "format": 99, "added_later": {"x": [1]}}
    rows = [new, old, pair, future]
    draw.shuffle(rows)
    return Broken(b"\n".join(map(raw, rows)), decisions=4)


def same_ids(draw: random.Random) -> Broken:
    rows = [{**good(draw), "id": "chatcmpl-1", "metadata": {"episode": "1"}} for _ in range(4)]
    return Broken(b"\n".join(map(raw, rows)), decisions=4)


def pretty(draw: random.Random) -> Broken:
    return Broken(json.dumps(good(draw), indent=2).encode(), "not_json", 1, 0)


def nothing_but(*choices: bytes) -> Callable[[random.Random], Broken]:
    return lambda draw: Broken(draw.choice(choices), "empty_line", 1, 0)


DEEP = 2000
FAULTS: dict[str, Callable[[random.Random], Broken]] = {
    # the file as a whole
    "last line cut": last_line_cut,
    "CRLF": whole(lambda content, _: content.replace(b"\n", b"\r\n")),
    "byte order mark": whole(lambda content, _: codecs.BOM_UTF8 + content),
    "no last line end": whole(lambda content, _: content.rstrip(b"\n")),
    "CR alone": whole(lambda content, _: content.replace(b"\n", b"\r"), "not_json", 1),
    "UTF-16": whole(lambda content, _: content.decode().encode("utf-16"), "bad_encoding", 1),
    "UTF-16 without a mark": whole(lambda content, _: content.decode().encode("utf-16-le"), "bad_encoding", 1),
    "UTF-32": whole(lambda content, _: content.decode().encode("utf-32"), "bad_encoding", 1),
    "mixed versions": mixed_versions,
    "duplicate ids": same_ids,
    "duplicate line": duplicated,
    "gzip": whole(lambda content, _: gzip.compress(content)),
    "gzip in two members": whole(lambda content, _: gzip.compress(content[:50]) + gzip.compress(content[50:])),
    "gzip cut": cut_gzip,
    "gzip with a flipped bit": flipped_gzip,
    "gzip header alone": whole(lambda content, _: gzip.compress(content)[:10], "damaged_gzip", 1),
    "gzip of nothing": lambda draw: Broken(gzip.compress(b""), "", 0, 0),
    "zstd": whole(lambda content, _: zstandard.compress(content), "?", 0),
    "random bytes": lambda draw: Broken(draw.randbytes(draw.randrange(1, 3000)), "?", 0, 0),
    "spaces only": nothing_but(b" ", b"\n\n\n", b"\r\n \t \r\n"),
    "pretty-printed": pretty,
    "one array": lambda draw: Broken(raw([good(draw), good(draw)]), "not_an_object", 1, 0),
    "CSV": lambda draw: Broken(b"agent,tool\nsupport,search\n", "not_json", 1, 0),
    # one line among good ones
    "line cut": with_line(lambda draw: raw(good(draw))[:60], "not_json"),
    "mark inside": with_line(lambda draw: codecs.BOM_UTF8 + raw(good(draw)), "not_json"),
    "Latin-1": with_line(lambda draw: b'{"messages": "caf\xe9"}', "bad_encoding"),
    "NUL in text": with_line(lambda draw: raw(good(draw)).replace(b"flight", b"fl\x00ght"), "not_json"),
    "run of NUL": with_line(lambda draw: b"\0" * draw.randrange(1, 9000), "not_json"),
    "empty line": with_line(lambda draw: draw.choice([b"", b"  ", b"\t\r"]), "empty_line"),
    "comment": with_line(lambda draw: draw.choice([b"# exported", b"// exported"]), "not_json"),
    "Python's repr": with_line(lambda draw: repr(good(draw)).encode(), "not_json"),
    "trailing comma": with_line(lambda draw: raw(good(draw)) + b",", "not_json"),
    "two objects": with_line(lambda draw: raw(good(draw)) + raw(good(draw)), "not_json"),
    "NaN": with_line(lambda draw: b'{"messages": [], "reward": NaN}', "not_json"),
    "number out of range": with_line(lambda draw: b'{"messages": [], "reward": 1e999}', "not_json"),
    "number of 5,000 digits": with_line(lambda draw: b'{"messages": [], "n": ' + b"9" * 5000 + b"}", "not_json"),
    "lone surrogate": with_line(lambda draw: raw(good(draw)).replace(b"flight", b"\\ud83d"), "bad_encoding"),
    "deep nesting": with_line(lambda draw: b'{"messages": ' + b"[" * DEEP + b"]" * DEEP + b"}", "too_deep"),
    "line too long": with_line(lambda draw: raw(good(draw)) + b" " * 70_000 + b"x", "line_too_long"),
    "no object": with_line(lambda draw: draw.choice([b"null", b"17", b'"text"', b"true", b"[]"]), "not_an_object"),
    "messages of a wrong type": with_value(
        lambda line, draw: line.update(messages=draw.choice([{}, "hi", 3, None, True, []])), "no_messages"
    ),
    "message of a wrong type": with_value(
        lambda line, draw: message(draw.choice(["hi", 3, None, []]))(line, draw), "bad_message"
    ),
    "content of a wrong type": with_value(message({"role": "user", "content": 17}), "bad_message"),
    "unknown role": with_value(message({"role": "robot", "content": "hi"}), "unknown_role"),
    "tools of a wrong type": with_value(
        lambda line, draw: line.update(tools=draw.choice(["search", 5, {"a": 1}])), "bad_tools"
    ),
    "arguments of a wrong type": with_value(arguments(5), "bad_arguments"),
    "arguments that are no JSON": with_value(arguments('{"q": '), "bad_arguments"),
    "a tool that was not offered": with_value(
        lambda line, _: line["messages"][1]["tool_calls"][0]["function"].update(name="invented"), "tool_not_offered"
    ),
    "a tool without a name": with_value(
        lambda line, _: line["messages"][1]["tool_calls"][0]["function"].update(name=""), "bad_call"
    ),
    "a student's call": with_value(
        lambda line, _: line["messages"][1]["tool_calls"][0].update(id="call_distill_1"), "answered_locally"
    ),
    "a tenant with NUL": with_value(lambda line, _: line.update(metadata={"tenant": "a\0b"}), "bad_metadata"),
    "no decision": with_value(lambda line, _: line.update(messages=line["messages"][:1]), "no_decision"),
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteEventStore]:
    monkeypatch.setattr(limits, "MAX_LINE_BYTES", 64 * 1024)
    store = SqliteEventStore(tmp_path / "log.db", synchronous="NORMAL")
    yield store
    store.close()


def attempt(store: SqliteEventStore, file: Path) -> ImportReport | str:
    """What the import says, or why there was none."""
    try:
        return import_files([file], store)
    except DataError as error:
        return str(error)


def check(store: SqliteEventStore, file: Path, broken: Broken, seconds: float = 5.0) -> None:
    file.write_bytes(broken.content)
    began, before = time.process_time(), store.last_position()
    report = attempt(store, file)
    assert time.process_time() - began < seconds
    if isinstance(report, str):
        assert store.last_position() == before, "nothing of it was stored"
        assert not broken.decisions
        assert "line" in report
        assert broken.reason in ("?", "") or f"{broken.reason} (first in line {broken.line})" in report
        return
    assert store.last_position() == before + report.decisions + 1, "all of it, and the fact that it was imported"
    if broken.reason not in ("", "?"):
        lines = report.skipped[broken.reason]
        assert lines == [broken.line] or (broken.line == 0 and lines)
    if broken.decisions is not None:
        assert report.decisions == broken.decisions
    again = import_files([file], store)
    assert (again.decisions, again.duplicates) == (0, report.decisions)
    assert store.last_position() == before + report.decisions + 1


def check_many(store: SqliteEventStore, folder: Path, fault: str, files: int) -> None:
    draw = random.Random(fault)
    for _ in range(files):
        check(store, folder / "traces.jsonl", FAULTS[fault](draw))
    decisions = list(store.read(types=[AgentDecisionEvent.event_type]))
    assert all(isinstance(e, AgentDecisionEvent) and e.source == "import" for e in decisions), "nobody vouches for them"


def test_there_are_enough_kinds() -> None:
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_accounted_for(log: SqliteEventStore, tmp_path: Path, fault: str) -> None:
    check_many(log, tmp_path, fault, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_many_broken_files_are_accounted_for(log: SqliteEventStore, tmp_path: Path, fault: str) -> None:
    check_many(log, tmp_path, fault, MANY)


def test_a_line_of_50_mb_is_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    draw, file = random.Random(1), tmp_path / "long.jsonl"
    file.write_bytes(raw(good(draw)) + b'\n{"messages": "' + b"x" * 50_000_000 + b'"}\n' + raw(good(draw)))
    store = SqliteEventStore(tmp_path / "log.db")
    report = import_files([file], store)
    assert (report.decisions, report.skipped) == (2, {"line_too_long": [2]})
    store.close()


IMPORT = """
import sys
from pathlib import Path
from benchmarks.curation_peers import peak_mb
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import import_files

store = SqliteEventStore(Path(sys.argv[2]), synchronous="NORMAL")
print(import_files([sys.argv[1]], store).decisions, peak_mb())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to know its own peak of memory")
def test_a_file_of_1_gb_is_read_in_little_memory(tmp_path: Path) -> None:
    draw, file, n = random.Random(1), tmp_path / "large.jsonl", 0
    with file.open("wb") as out:
        while out.tell() < 10**9:
            line = good(draw)
            line["messages"].insert(0, {"role": "system", "content": f"{n} " + "You book flights. " * 500})
            out.write(raw(line) + b"\n")
            n += 1
    words = [sys.executable, "-c", IMPORT, str(file), str(tmp_path / "log.db")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=1200, cwd=Path(__file__).parents[2]
    )
    decisions, peak = done.stdout.split()
    assert int(decisions) == n
    assert float(peak) < 200  # MB; not getrusage's, which counts what pytest had in use when it forked
