"""A key that was destroyed is gone: from the file, from its write-ahead log, from other processes."""

from __future__ import annotations

import base64
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from ultracore.distillation.errors import ConfigurationError, LogError
from ultracore.distillation.events.privacy import keyring
from ultracore.distillation.events.privacy.keyring import Key, Keyring, Scope
from ultracore.distillation.events.privacy.wrapping import master_key

ALICE, DAY = Scope("acme", "sub_" + "a" * 32), Scope("acme", "2026-11-25")
MASTER = b"m" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keyring.db"


def _everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_key_is_the_same_after_reopening_and_only_its_owner_may_read_it(path: Path) -> None:
    ring = Keyring(path)
    key = ring.key_for(ALICE)
    ring.persist()
    again = Keyring(path)
    assert (again.key_for(ALICE), again.find(key.id), again.secret) == (key, key, ring.secret)
    assert {oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {"0o600"}
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


def test_a_key_that_was_not_persisted_dies_with_its_process(path: Path) -> None:
    key = Keyring(path).key_for(ALICE)
    assert Keyring(path).find(key.id) is None


def test_a_destroyed_key_is_in_no_file_any_more(path: Path) -> None:
    ring = Keyring(path)
    keys = {name: ring.key_for(Scope("acme", f"sub_{name:032d}")) for name in range(200)}
    ring.persist()
    assert keys[7].secret in _everything(path)
    for name in range(0, 200, 2):
        assert ring.destroy(tenant="acme", name=f"sub_{name:032d}") == 1
        if name == 20:
            break
    bytes_left = _everything(path)
    assert not [name for name in range(0, 21, 2) if keys[name].secret in bytes_left or keys[name].id in bytes_left]
    assert all(keys[name].secret in bytes_left for name in range(1, 200, 2))
    assert ring.find(keys[20].id) is None
    assert ring.find(keys[21].id) == keys[21]


@pytest.mark.parametrize(
    ("chosen", "gone"),
    [
        ({"tenant": "acme", "name": ALICE.name}, {ALICE}),
        ({"tenant": "acme"}, {ALICE, DAY, Scope("acme", "2025-01-01")}),
        ({"before_day": "2026-01-01"}, {Scope("acme", "2025-01-01"), Scope("other", "2025-12-31")}),
        ({"before_day": "2026-01-01", "tenant": "other"}, {Scope("other", "2025-12-31")}),
        ({"created_until": "1999"}, set()),
    ],
)
def test_what_is_destroyed(path: Path, chosen: dict[str, str], gone: set[Scope]) -> None:
    ring = Keyring(path)
    scopes = [ALICE, DAY, Scope("acme", "2025-01-01"), Scope("other", "2025-12-31"), Scope("other", ALICE.name)]
    keys = {scope: ring.key_for(scope) for scope in scopes}
    assert ring.destroy(**chosen) == len(gone)
    assert {scope for scope, key in keys.items() if ring.find(key.id) is None} == gone
    assert {scope for scope, _ in ring.scopes()} == set(scopes) - gone


def test_a_person_who_comes_back_gets_a_new_key(path: Path) -> None:
    ring = Keyring(path)
    old = ring.key_for(ALICE)
    ring.destroy(tenant="acme", name=ALICE.name)
    new = ring.key_for(ALICE)
    ring.persist()
    assert new.id != old.id
    assert (ring.find(old.id), Keyring(path).find(new.id)) == (None, new)


def test_another_process_stops_using_a_destroyed_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.0)
    here, there = Keyring(path), Keyring(path)
    key = here.key_for(ALICE)
    here.persist()
    assert there.key_for(ALICE) == key
    here.destroy(tenant="acme", name=ALICE.name)
    assert there.find(key.id) is None
    assert there.key_for(ALICE) != key


def test_a_new_key_is_not_forgotten_because_another_was_destroyed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.0)
    here, there = Keyring(path), Keyring(path)
    here.key_for(DAY)
    here.persist()
    new = there.key_for(ALICE)
    here.destroy(tenant="acme", name=DAY.name)
    assert (there.find(new.id), there.key_for(ALICE)) == (new, new)
    there.persist()
    assert here.find(new.id) == new


def test_few_keys_are_kept_in_memory_and_all_in_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "KEYS_IN_MEMORY", 4)
    ring = Keyring(path)
    keys: list[Key] = []
    for name in range(20):
        keys.append(ring.key_for(Scope("acme", f"sub_{name}")))
        ring.persist()
    assert [ring.find(key.id) for key in keys] == keys
    assert [ring.key_for(Scope("acme", f"sub_{name}")) for name in range(20)] == keys


def test_a_master_key_wraps_what_lay_open(path: Path) -> None:
    ring = Keyring(path)
    key, secret = ring.key_for(ALICE), ring.secret
    ring.persist()
    ring.close()
    wrapped = Keyring(path, MASTER)
    assert (wrapped.find(key.id), wrapped.secret) == (key, secret)
    wrapped.close()
    assert key.secret not in _everything(path)
    assert secret not in _everything(path)
    assert Keyring(path, MASTER).find(key.id) == key


@pytest.mark.parametrize("master", [None, b"x" * 32])
def test_without_the_right_master_key_nothing_opens(path: Path, master: bytes | None) -> None:
    Keyring(path, MASTER).close()
    with pytest.raises(LogError, match="master key"):
        Keyring(path, master)


def test_the_master_key_is_32_bytes_in_base64_and_never_repeated() -> None:
    assert master_key("M", {}) is None
    assert master_key("M", {"M": base64.b64encode(MASTER).decode() + "\n"}) == MASTER
    for bad in ("hunter2", base64.b64encode(b"short").decode(), "é"):
        with pytest.raises(ConfigurationError, match="M must hold 32 random bytes") as error:
            master_key("M", {"M": bad})
        assert bad not in str(error.value)


def test_what_is_no_keyring_and_what_cannot_be_written_say_so(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("something else" * 1000)
    with pytest.raises(LogError, match="not a database"):
        Keyring(path)


def test_a_copy_holds_the_same_keys(path: Path, tmp_path: Path) -> None:
    ring = Keyring(path)
    key = ring.key_for(ALICE)
    ring.copy_to(tmp_path / "copy.db")
    ring.destroy(tenant="acme")
    copied = Keyring(tmp_path / "copy.db")
    assert (copied.find(key.id), copied.secret) == (key, ring.secret)


def _seals(path: str, name: str, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    ring = Keyring(Path(path))
    for count in range(20):
        ring.key_for(Scope("acme", f"sub_{name}{count}"))
        ring.persist()


def test_many_processes_share_a_new_keyring(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = time.time() + 2
    processes = [context.Process(target=_seals, args=(str(path), str(n), start)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(Keyring(path).scopes())) == 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_leaves_both_sides_with_their_keys(path: Path) -> None:
    ring = Keyring(path)
    key = ring.key_for(ALICE)
    ring.persist()
    child = os.fork()
    if child == 0:
        try:
            ring.key_for(DAY)
            ring.persist()
            os._exit(0 if ring.find(key.id) == key else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ring.find(key.id) == key
    assert {scope for scope, _ in ring.scopes()} == {ALICE, DAY}
