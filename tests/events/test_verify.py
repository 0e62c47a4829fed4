"""Whatever was altered in a log is found, and the event is named; a log outside the file knows the rest."""

from __future__ import annotations

import random
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
import zstandard
from click.testing import CliRunner

from ultracore.distillation.cli import main
from ultracore.distillation.errors import LogError
from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent, Event, RetrainTriggeredEvent
from ultracore.distillation.events.block import GENESIS, Block, link, pack, rows
from ultracore.distillation.events.checkpoints import Checkpoint, CheckpointSigner, read_checkpoints
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.rows import index_of
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger, intact_rows
from ultracore.distillation.events.verify import Report, verify

TOOLS = [{"name": f"tool_{k}", "description": "What it does, in some more words."} for k in range(8)]


def events(start: int, n: int) -> list[Event]:
    words = random.Random(start)
    made: list[Event] = []
    for i in range(start, start + n):
        text = " ".join(f"{words.getrandbits(40):x}" for _ in range(12))
        made.append(
            AgentDecisionEvent.record(event_id=f"d{i}", agent_id="a", context={"q": text}, tools_available=TOOLS)
        )
        made.append(DecisionOutcomeEvent.record(event_id=f"o{i}", decision_id=f"d{i}", success=True))
    return [*made, RetrainTriggeredEvent.record(event_id=f"r{start}", model_id="m", reason="scheduled")]


def make(path: Path, appends: int = 6, n: int = 20) -> int:
    store = SqliteEventStore(path, checkpoints=path.parent / "outside")
    last = [store.append(events(i * n, n)) for i in range(appends)][-1][-1]
    store.close()
    return last


def check(path: Path) -> Report:
    ledger = SqliteLedger(path)
    try:
        return verify(ledger, list(read_checkpoints(path.parent / "outside")))
    finally:
        ledger.close()


def change(path: Path, *statements: str, **values: object) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement, values)
    connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / "log.db")
    return tmp_path / "log.db"


def test_an_untouched_log_is_as_it_was_written(path: Path) -> None:
    seen: list[int] = []
    ledger = SqliteLedger(path)
    report = verify(ledger, read_checkpoints(path.parent / "outside"), seen.append)
    ledger.close()
    assert report.findings == []
    assert (report.events, report.blocks, report.intact, report.checkpoints) == (246, 6, 246, 1)
    assert seen == [41 * k for k in range(1, 7)]


def _payload(path: Path) -> None:
    """Event 50 is given another payload; nobody mends the hash."""
    connection = apsw.Connection(str(path))
    first, *content = connection.execute(
        "SELECT first, events, rows, sums, data FROM blocks WHERE first = 42"
    ).fetchone()
    found = [r.payload for r in rows(Block(*content))]
    found[8] = b"x" * len(found[8])
    connection.execute("UPDATE blocks SET data = ? WHERE first = ?", (zstandard.compress(b"".join(found)), first))
    connection.close()


ALTERED: dict[str, tuple[Callable[[Path], None], int | None, str]] = {
    "payload": (_payload, 50, "d24, AGENT_TOOL_SELECTED"),
    "hash": (lambda p: change(p, "UPDATE blocks SET hash = zeroblob(32) WHERE first = 42"), 42, "does not match"),
    "previous": (lambda p: change(p, "UPDATE blocks SET previous = zeroblob(32) WHERE first = 42"), 42, "continue"),
    "block gone": (lambda p: change(p, "DELETE FROM blocks WHERE first = 83"), 83, "positions 83 to 123 are missing"),
    "block twice": (
        lambda p: change(p, "INSERT INTO blocks SELECT first + 1, events, previous, hash, rows, sums, data FROM blocks WHERE first = 42"),
        43, "two blocks",
    ),
    "index column": (lambda p: change(p, "UPDATE events SET tenant = 'x' WHERE position = 60"), 60, "d29, AGENT"),
    "index agent": (lambda p: change(p, "UPDATE events SET agent = NULL WHERE position = 60"), 60, "index row"),
    "index row gone": (lambda p: change(p, "DELETE FROM events WHERE position = 60"), 60, "index row"),
    "index row more": (
        lambda p: change(p, "INSERT INTO events SELECT 9999, 'z', type, version, aggregate, aggregate_type, tenant, agent, subject, occurred_at, causation, correlation FROM events LIMIT 1"),
        None, "247 rows for 246 events",
    ),
    "part": (lambda p: change(p, "UPDATE parts SET data = x'00'"), 1, "is damaged"),
    "part of another": (lambda p: change(p, "UPDATE parts SET data = :d", d=zstandard.compress(b"[]")), 1, "is damaged"),
    "part gone": (lambda p: change(p, "DELETE FROM parts"), 1, "is missing"),
    "schema": (lambda p: change(p, "DROP INDEX events_by_type"), None, "the tables are not"),
    "kind": (lambda p: change(p, "UPDATE blocks SET sums = 'text' WHERE first = 42"), 42, "another kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_named(path: Path, name: str) -> None:
    alter, position, words = ALTERED[name]
    alter(path)
    findings = check(path).findings
    assert findings
    assert findings[0].position == position
    assert re.search(re.escape(words), str(findings[0])), findings[0]


@pytest.mark.parametrize("name", ["payload", "hash", "block gone", "kind"])
def test_what_was_altered_is_never_served(path: Path, name: str) -> None:
    ALTERED[name][0](path)
    store = SqliteEventStore(path)
    read = []
    with pytest.raises(LogError, match=r"distill verify"):
        read.extend(store.read())
    assert len(read) in (41, 82)
    store.close()


def test_a_damaged_tail_is_not_appended_to(path: Path) -> None:
    change(path, "UPDATE blocks SET hash = zeroblob(32) WHERE first = 206")
    with pytest.raises(LogError, match="damaged at positions 206 to 246"):
        SqliteEventStore(path)


def test_another_log_is_not_verified_by_these_checkpoints(path: Path) -> None:
    change(path, "UPDATE log SET store_id = 'other'")
    assert "another log" in str(check(path).findings[0])


class TestAgainstTheOutside:
    """D8: what a chain alone cannot tell."""

    def test_an_older_copy(self, tmp_path: Path) -> None:
        path = tmp_path / "log.db"
        make(path, appends=2)
        shutil.copy(path, tmp_path / "yesterday.db")
        store = SqliteEventStore(path, checkpoints=tmp_path / "outside")
        store.append(events(1000, 5))
        store.close()
        shutil.copy(tmp_path / "yesterday.db", path)
        (finding,) = check(path).findings
        assert finding.position == 83
        assert "older copy" in finding.reason

    def test_a_dropped_tail(self, path: Path) -> None:
        change(path, "DELETE FROM blocks WHERE first > 164", "DELETE FROM events WHERE position > 164")
        (finding,) = check(path).findings
        assert finding.position == 165
        assert "tail" in finding.reason

    def test_a_chain_made_anew_after_an_edit(self, path: Path) -> None:
        rechain(path, edit=50)
        report = check(path)
        assert [f.position for f in report.findings] == [246]
        assert "chained anew" in report.findings[0].reason
        assert report.checkpoints == 0

    def test_without_it_the_edit_is_not_found(self, path: Path) -> None:
        rechain(path, edit=50)
        ledger = SqliteLedger(path)
        assert verify(ledger).findings == []  # why the outside is needed
        ledger.close()


def rechain(path: Path, edit: int) -> None:
    """What somebody with the file, the code and time would do."""
    connection = apsw.Connection(str(path))
    previous = GENESIS
    for first, *content in connection.execute(
        "SELECT first, events, rows, sums, data FROM blocks ORDER BY first"
    ).fetchall():
        found = rows(Block(*content))
        if first <= edit < first + len(found):
            found[edit - first] = found[edit - first]._replace(payload=b'{"agent_id":"somebody else"}')
        block = pack(found)
        digest = link(previous, first, block)
        connection.execute(
            "UPDATE blocks SET previous = ?, hash = ?, rows = ?, sums = ?, data = ? WHERE first = ?",
            (previous, digest, *block[1:], first),
        )
        assert index_of(first, found[0])[0] == first
        previous = digest
    connection.close()


def logical(path: Path) -> list[object]:
    """All that a log holds, as SQLite reads it."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        held: list[object] = [connection.pragma("application_id"), connection.pragma("user_version")]
        held += connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        for table in ("log", "blocks", "parts", "events"):
            held += connection.execute(f"SELECT * FROM {table}").fetchall()
        held += connection.execute("SELECT event_id FROM events ORDER BY event_id").fetchall()
        held += connection.execute("PRAGMA integrity_check").fetchall()
        return held
    finally:
        connection.close(True)


def flips(path: Path, offsets: list[int]) -> tuple[int, list[int]]:
    """How many flips were in live data and found, and those that were not found."""
    whole, before = path.read_bytes(), logical(path)
    found, missed = 0, []
    for offset in offsets:
        changed = bytearray(whole)
        changed[offset] ^= 1 << (offset % 8)
        path.write_bytes(changed)
        if _is_found(path):
            found += 1
        elif _reads(path) != before:
            missed.append(offset)
    path.write_bytes(whole)
    return found, missed


def _is_found(path: Path) -> bool:
    try:
        return bool(check(path).findings)
    except LogError:
        return True


def _reads(path: Path) -> object:
    try:
        return logical(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not what was there
        return error


def test_every_flipped_byte_of_live_data_is_found(path: Path) -> None:
    chance = random.Random(6)
    found, missed = flips(path, [chance.randrange(path.stat().st_size) for _ in range(60)])
    assert missed == []
    assert found > 10


@pytest.mark.slow
def test_a_thousand_flipped_bytes(path: Path) -> None:
    chance = random.Random(66)
    found, missed = flips(path, [chance.randrange(path.stat().st_size) for _ in range(1000)])
    assert missed == []
    assert found > 200


def cuts(path: Path, sizes: list[int]) -> None:
    whole, last = path.read_bytes(), 246
    expected = list(intact_rows(path))
    assert [position for position, _ in expected] == list(range(1, last + 1))
    for size in sizes:
        path.write_bytes(whole[:size])
        try:
            left = list(intact_rows(path))
            report = check(path)
        except LogError:
            left, report = [], None
        assert left == expected[: len(left)]
        assert report is None or report.findings
        if report is not None and not any("part" in finding.reason for finding in report.findings):
            assert report.intact >= len(left)
    path.write_bytes(whole)


def test_a_file_cut_short_gives_its_whole_events(path: Path) -> None:
    chance = random.Random(7)
    cuts(path, [chance.randrange(path.stat().st_size) for _ in range(40)])


@pytest.mark.slow
def test_a_thousand_cuts(path: Path) -> None:
    chance = random.Random(77)
    cuts(path, [chance.randrange(path.stat().st_size) for _ in range(1000)])


def test_a_cut_write_ahead_log_opens_to_the_last_whole_append(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    for i in range(10):
        store.append(events(i * 5, 5))
    wal = (tmp_path / "log.db-wal").read_bytes()
    database = (tmp_path / "log.db").read_bytes()
    store.close()
    chance = random.Random(8)
    lengths = set()
    for copy in range(15):
        folder = tmp_path / str(copy)
        folder.mkdir()
        (folder / "log.db").write_bytes(database)
        (folder / "log.db-wal").write_bytes(wal[: chance.randrange(len(wal))])
        again = SqliteEventStore(folder / "log.db")
        lengths.add(sum(1 for _ in again.read()))
        assert again.last_position() % 11 == 0
        again.close()
        assert check(folder / "log.db").findings == []
    assert len(lengths) > 5


class TestCheckpoints:
    def test_key_and_file(self, tmp_path: Path) -> None:
        signer = CheckpointSigner(tmp_path / "out")
        signer.sign(3, b"\1" * 32, "s")
        CheckpointSigner(tmp_path / "out").sign(5, b"\2" * 32, "s")
        assert stat.S_IMODE((tmp_path / "out" / "key.pem").stat().st_mode) == 0o600
        first, second = read_checkpoints(tmp_path / "out")
        assert (first.position, second.position, second.hash, second.store_id) == (3, 5, "02" * 32, "s")
        assert isinstance(first, Checkpoint)

    @pytest.mark.parametrize(
        "alter",
        [
            lambda text: text.replace('"position":5', '"position":6'),
            lambda text: text.replace("02" * 32, "03" * 32),
            lambda text: "nonsense\n" + text,
            lambda text: text.replace('"signature":"', '"signature":"zz'),
        ],
        ids=["position", "hash", "line", "signature"],
    )
    def test_an_altered_line_is_refused(self, tmp_path: Path, alter: Callable[[str], str]) -> None:
        CheckpointSigner(tmp_path).sign(5, b"\2" * 32, "s")
        file = tmp_path / "checkpoints.jsonl"
        assert alter(file.read_text()) != file.read_text()
        file.write_text(alter(file.read_text()))
        with pytest.raises(LogError, match=r"checkpoints\.jsonl:1"):
            list(read_checkpoints(tmp_path))

    @pytest.mark.parametrize("with_key", [True, False])
    def test_another_key_is_refused(self, tmp_path: Path, with_key: bool) -> None:
        CheckpointSigner(tmp_path / "a").sign(5, b"\2" * 32, "s")
        CheckpointSigner(tmp_path / "b").sign(5, b"\2" * 32, "s")
        forged = (tmp_path / "b" / "checkpoints.jsonl").read_bytes()
        file = tmp_path / "a" / "checkpoints.jsonl"
        file.write_bytes(forged if with_key else file.read_bytes() + forged)
        if not with_key:
            (tmp_path / "a" / "key.pem").unlink()
        with pytest.raises(LogError, match="not valid"):
            list(read_checkpoints(tmp_path / "a"))

    def test_a_line_that_a_crash_cut_short_is_not_an_error(self, tmp_path: Path) -> None:
        CheckpointSigner(tmp_path).sign(5, b"\2" * 32, "s")
        file = tmp_path / "checkpoints.jsonl"
        file.write_bytes(file.read_bytes() + file.read_bytes()[:40])
        assert [c.position for c in read_checkpoints(tmp_path)] == [5]
        CheckpointSigner(tmp_path).sign(6, b"\2" * 32, "s")
        assert [c.position for c in read_checkpoints(tmp_path)] == [5, 6]

    def test_a_key_that_is_none_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "key.pem").write_text("no key")
        with pytest.raises(LogError, match=r"key\.pem is not a key"):
            CheckpointSigner(tmp_path).sign(5, b"\2" * 32, "s")

    def test_they_are_signed_now_and_then_and_at_the_end(self, tmp_path: Path) -> None:
        store = SqliteEventStore(tmp_path / "log.db", checkpoints=tmp_path / "out", checkpoint_seconds=0.0)
        for i in range(3):
            store.append(events(i * 3, 1))
        store.close()
        assert [c.position for c in read_checkpoints(tmp_path / "out")] == [3, 6, 9]
        store = SqliteEventStore(tmp_path / "log.db", checkpoints=tmp_path / "out", checkpoint_seconds=3600.0)
        for i in range(3, 5):
            store.append(events(i * 3, 1))
        store.close()
        assert [c.position for c in read_checkpoints(tmp_path / "out")] == [3, 6, 9, 15]
        idle = SqliteEventStore(tmp_path / "log.db", checkpoints=tmp_path / "other")
        idle.close()
        assert not (tmp_path / "other").exists()

    def test_a_store_whose_checkpoints_cannot_be_written_logs_on(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        store = SqliteEventStore(tmp_path / "log.db", checkpoints=tmp_path / "file" / "out", checkpoint_seconds=0.0)
        store.append(events(0, 1))
        assert store.append(events(5, 1)) == [4, 5, 6]
        store.close()
        assert "no checkpoint" in caplog.text


class TestCommand:
    def run(self, home: Path, *words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["verify", "--home", str(home), *words])
        return result.exit_code, result.output

    def test_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DISTILL_HOME")
        store = open_store(tmp_path)
        store.append(events(0, 3))
        store.close()
        code, text = self.run(tmp_path)
        assert code == 0, text
        assert "7 events in 1 blocks" in text
        assert "1 signed checkpoints agree" in text
        code, text = self.run(tmp_path, "--checkpoints", str(tmp_path / "none"))
        assert code == 0
        assert "no checkpoint outside" in text

    def test_altered(self, tmp_path: Path) -> None:
        store = open_store(tmp_path)
        store.append(events(0, 3))
        store.close()
        change(tmp_path / "log.db", "UPDATE events SET tenant = 'x' WHERE position = 3")
        code, text = self.run(tmp_path)
        assert code == 1
        assert "position 3 (d1, AGENT_TOOL_SELECTED): its index row" in text
        assert "positions up to 7 are intact" in text

    def test_a_log_of_an_older_release_is_not_written_to(self, tmp_path: Path) -> None:
        golden = Path(__file__).parents[1] / "golden" / "stores" / "log.v1.db"
        shutil.copy(golden, tmp_path / "log.db")
        code, text = self.run(tmp_path)
        assert code == 2
        assert "format 1" in text
        assert (tmp_path / "log.db").read_bytes() == golden.read_bytes()
