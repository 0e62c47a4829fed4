"""A backup is a verified beginning of the log, made while it grows; put back, it has not learned again what was erased."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation import backup
from ultracore.distillation.backup import Places, back_up, restore
from ultracore.distillation.cli import main
from ultracore.distillation.erasure import Erasure, erase, plan
from ultracore.distillation.errors import ConfigurationError, LogError
from ultracore.distillation.events import (
    AgentDecisionEvent,
    DatasetManifestEvent,
    ModelTrainedEvent,
    SubjectErasedEvent,
)
from ultracore.distillation.events.checkpoints import CheckpointSigner, read_checkpoints
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.verify import verify
from ultracore.distillation.log import rows_from_log


def places(home: Path) -> Places:
    return Places(home, home / "keys", home / "checkpoints", home / "erased.jsonl")


def decision(person: str, text: str = "x") -> AgentDecisionEvent:
    return AgentDecisionEvent.record(agent_id="a", user_id=person, context={"text": text}, tool_selected="f")


@pytest.fixture
def live(tmp_path: Path) -> Any:
    store = SqliteEventStore(tmp_path / "live" / "log.db")
    store.append([decision(f"p{n}") for n in range(20)])
    yield store
    store.close()


def home_of(store: SqliteEventStore) -> Path:
    return store.path.parent


def sign(store: SqliteEventStore) -> None:
    ledger = SqliteLedger(store.path)
    report, store_id = verify(ledger, []), ledger.store_id()
    ledger.close()
    CheckpointSigner(home_of(store) / "checkpoints").sign(report.events, bytes.fromhex(report.hash), store_id)


@pytest.mark.parametrize("backups", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_backups_under_load_restore_to_a_verified_prefix(live: SqliteEventStore, tmp_path: Path, backups: int) -> None:
    done = threading.Event()

    def load() -> None:
        count = 0
        while not done.is_set():
            live.append([decision(f"q{count % 50}", str(count)) for _ in range(5)])
            count += 1

    writers = [threading.Thread(target=load) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for number in range(backups):
            sign(live)
            manifest = back_up(places(home_of(live)), tmp_path / f"backup-{number}")
            assert manifest.events >= 20
    finally:
        done.set()
        for writer in writers:
            writer.join()
    whole = list(live.read())
    ends = []
    for number in range(backups):
        home = tmp_path / f"restored-{number}"
        restore(tmp_path / f"backup-{number}", places(home), never_erased=True)
        again = SqliteEventStore(home / "log.db")
        events = list(again.read())
        again.close()
        assert events == whole[: len(events)]
        assert len(list(read_checkpoints(home / "checkpoints"))) == number + 1
        ends.append(len(events))
        ledger = SqliteLedger(home / "log.db")
        assert not verify(ledger, list(read_checkpoints(home / "checkpoints"))).findings
        ledger.close()
    assert ends == sorted(ends)
    assert ends[-1] > ends[0] >= 20


def test_a_backup_older_than_an_erasure_stays_erased(live: SqliteEventStore, tmp_path: Path) -> None:
    home = home_of(live)
    victim = next(iter(live.read()))
    live.append(
        [
            DatasetManifestEvent.record(
                dataset_id="d", chunk=1, chunks=1, event_ids=[victim.metadata.event_id], parts=["train"], weights=[1.0]
            ),
            ModelTrainedEvent.record(
                model_id="m",
                model_name="compact",
                dataset_id="d",
                decisions=1,
                episodes=1,
                training_seconds=1.0,
                seed=0,
            ),
        ]
    )
    (home / "models" / "m").mkdir(parents=True)
    (home / "models" / "m" / "config.json").write_text("what p0 said")
    back_up(places(home), tmp_path / "backup")
    erase(live, plan(live, home, Erasure("default", "p0"), home / "erased.jsonl"), home / "erased.jsonl")
    restored = places(tmp_path / "restored")
    with pytest.raises(ConfigurationError, match="no file of erasures"):
        restore(tmp_path / "backup", restored)
    restored.home.mkdir()
    shutil.copy(home / "erased.jsonl", restored.tombstones)
    (back,) = restore(tmp_path / "backup", restored)
    assert (back.keys, len(back.events), set(back.models)) == (1, 1, {"m"})
    again = SqliteEventStore(restored.home / "log.db")
    assert {row["user_id"] for row in rows_from_log(again)} == {f"p{n}" for n in range(1, 20)}
    (told,) = again.read(types=[SubjectErasedEvent.event_type])
    assert told.reason == "a backup was restored"  # type: ignore[attr-defined]
    assert not (restored.home / "models" / "m").exists()
    again.close()


def test_somebody_who_came_back_after_the_erasure_is_not_erased_by_a_later_backup(
    live: SqliteEventStore, tmp_path: Path
) -> None:
    home = home_of(live)
    erase(live, plan(live, home, Erasure("default", "p0"), home / "erased.jsonl"), home / "erased.jsonl")
    live.append([decision("p0", "back again")])
    back_up(places(home), tmp_path / "backup")
    restored = places(tmp_path / "restored")
    restored.home.mkdir()
    shutil.copy(home / "erased.jsonl", restored.tombstones)
    assert restore(tmp_path / "backup", restored) == []
    again = SqliteEventStore(restored.home / "log.db")
    assert [row["context"]["text"] for row in rows_from_log(again) if row["user_id"] == "p0"] == ["back again"]
    again.close()


def test_keys_kept_apart(live: SqliteEventStore, tmp_path: Path) -> None:
    sign(live)
    back_up(places(home_of(live)), tmp_path / "log-only", tmp_path / "keys-only")
    assert {file.name for file in (tmp_path / "keys-only").iterdir()} == {"keyring.db", "key.pem"}
    assert {file.name for file in (tmp_path / "log-only").iterdir()} == {"backup.json", "log.db", "checkpoints.jsonl"}
    with pytest.raises(ConfigurationError, match="kept apart"):
        restore(tmp_path / "log-only", places(tmp_path / "r"), never_erased=True)
    with pytest.raises(ConfigurationError, match=r"no keyring\.db in"):  # without it nobody could read a word
        restore(tmp_path / "log-only", places(tmp_path / "r"), tmp_path / "log-only", never_erased=True)
    restore(tmp_path / "log-only", places(tmp_path / "r"), tmp_path / "keys-only", never_erased=True)
    again = SqliteEventStore(tmp_path / "r" / "log.db")
    assert list(again.read()) == list(live.read())
    again.close()


def test_a_restore_that_was_stopped_is_begun_again(
    live: SqliteEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home_of(live) / "models" / "m").mkdir(parents=True)
    (home_of(live) / "models" / "m" / "weights").write_bytes(b"1")
    back_up(places(home_of(live)), tmp_path / "backup")
    sync = backup._sync

    def stopped(folder: Path | None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_sync", stopped)
    with pytest.raises(OSError, match="space"):
        restore(tmp_path / "backup", places(tmp_path / "r"), never_erased=True)
    monkeypatch.setattr(backup, "_sync", sync)
    restore(tmp_path / "backup", places(tmp_path / "r"), never_erased=True)
    again = SqliteEventStore(tmp_path / "r" / "log.db")
    assert list(again.read()) == list(live.read())
    again.close()


def test_another_keyring_is_not_overwritten(live: SqliteEventStore, tmp_path: Path) -> None:
    back_up(places(home_of(live)), tmp_path / "backup")
    (tmp_path / "r" / "keys").mkdir(parents=True)
    (tmp_path / "r" / "keys" / "keyring.db").write_bytes(b"another")
    with pytest.raises(ConfigurationError, match="another keyring"):
        restore(tmp_path / "backup", places(tmp_path / "r"), never_erased=True)
    assert (tmp_path / "r" / "keys" / "keyring.db").read_bytes() == b"another"


def test_keys_do_not_stay_behind_where_the_backup_fails(live: SqliteEventStore, tmp_path: Path) -> None:
    (tmp_path / "to.partial").mkdir()
    to = tmp_path / "to"

    class Taken(type(to)):  # type: ignore[misc]
        """A name that somebody takes while the backup is made."""

        def exists(self, **_: Any) -> bool:
            found = super().exists()
            if not found and self.name == "to":
                self.mkdir()
                (self / "theirs").touch()
            return found

    with pytest.raises(LogError):
        back_up(places(home_of(live)), Taken(to), tmp_path / "keys-only")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live", "to"]
    assert [path.name for path in to.iterdir()] == ["theirs"]


def test_a_backup_that_was_altered_is_not_put_back(live: SqliteEventStore, tmp_path: Path) -> None:
    back_up(places(home_of(live)), tmp_path / "backup")
    file = tmp_path / "backup" / "log.db"
    content = bytearray(file.read_bytes())
    at = content.find(b"AGENT_TOOL_SELECTED")
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(LogError):
        restore(tmp_path / "backup", places(tmp_path / "r"), never_erased=True)
    assert not (tmp_path / "r").exists()


def test_a_backup_never_overwrites_and_a_failed_one_leaves_nothing(live: SqliteEventStore, tmp_path: Path) -> None:
    back_up(places(home_of(live)), tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="there already"):
        back_up(places(home_of(live)), tmp_path / "backup")
    with pytest.raises(LogError):
        back_up(places(tmp_path / "nowhere"), tmp_path / "other")
    with pytest.raises(ConfigurationError, match="log in"):
        restore(tmp_path / "backup", places(home_of(live)), never_erased=True)
    with pytest.raises(ConfigurationError, match="no backup"):
        restore(tmp_path, places(tmp_path / "r"), never_erased=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "live"]


def test_a_log_in_postgresql_is_copied_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", "postgresql://user@127.0.0.1/x")
    with pytest.raises(SystemExit) as stop:
        main(["restore", str(tmp_path), "--home", str(tmp_path / "r")])
    assert stop.value.code == 2
    assert "pg_dump" in capsys.readouterr().err


def test_the_commands(live: SqliteEventStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["backup", str(tmp_path / "b"), "--home", str(home_of(live))],
        ["restore", str(tmp_path / "b"), "--home", str(tmp_path / "r"), "--never-erased"],
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert not stop.value.code
    out = capsys.readouterr().out
    assert "20 events" in out
    assert "restored and verified" in out
