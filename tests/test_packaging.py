"""What is shipped, and what an import costs: a wheel without surprises, and an import that does nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "ultracore/distillation"
REQUIREMENTS = ("base.txt", "dev.txt")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}")
PINNED = re.compile(r"[A-Za-z0-9][\w.\-]*(\[[\w,\-]+\])?==[\w.!+]+( ; [^\\]+)?")
ADDRESS = re.compile(r"://|--(index-url|extra-index-url|find-links|trusted-host)| @ ")
BUILD_PATH = re.compile(rb"(?<![\w.$-])/(work|root|home|Users|opt|mnt)/[\w.-]+")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the backend is a program there
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(ROOT)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = out.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_every_source_file_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if name.startswith("ultracore/") and not name.endswith("/")}
    source = (ROOT / "src" / PACKAGE).rglob("*")
    files = {str(f.relative_to(ROOT / "src")) for f in source if f.is_file() and "__pycache__" not in f.parts}
    assert shipped == files
    assert {
        f"{PACKAGE}/py.typed",
        f"{PACKAGE}/report/assets/page.css",
        f"{PACKAGE}/report/assets/page.js",
        f"{PACKAGE}/dashboard/assets/live.css",
    } <= shipped
    others = {name.split("/")[0] for name in wheel.namelist()} - {"ultracore"}
    assert [top for top in others if not top.endswith(".dist-info")] == []


def test_the_wheel_leaves_the_namespace_free_and_starts_nothing_by_itself(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "ultracore/__init__.py" not in names  # PEP 420: others may live in `ultracore` too
    assert not [name for name in names if name.endswith((".pth", ".so", ".pyc", ".pkl", ".joblib"))]
    assert not [name for name in names if ".data/" in name]


def test_the_wheel_has_the_command_and_the_license(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "distill = ultracore.distillation.cli:main" in wheel.read(entry_points).decode()
    assert [name for name in wheel.namelist() if name.endswith("LICENSE")]


def test_importing_costs_no_numpy() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import ultracore.distillation as d; dir(d);"
        "print(round(1000 * (time.perf_counter() - began), 1));"
        "print(sorted({'numpy', 'scipy', 'sklearn', 'plotly', 'starlette', 'apsw'} & set(sys.modules)))"
    )
    milliseconds, heavy = run(code).splitlines()
    print(f"import ultracore.distillation: {milliseconds} ms")
    assert heavy == "[]"


def test_what_serves_a_student_needs_no_scikit_learn() -> None:
    code = (
        "import sys, ultracore.distillation.serve, ultracore.distillation.students.registry;"
        "print(sorted({'scipy', 'sklearn', 'plotly'} & set(sys.modules)))"
    )
    assert run(code).strip() == "[]"


def test_importing_opens_no_socket_writes_no_file_and_starts_no_process() -> None:
    code = """
import sys
seen = []
def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.spawn", "os.posix_spawn")):
        seen.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and "__pycache__" not in str(args[0]):
        seen.append(f"open {args[0]} for writing")
sys.addaudithook(watch)
import ultracore.distillation as package
for name in package.__all__:
    getattr(package, name)
import ultracore.distillation.serve, ultracore.distillation.loop, ultracore.distillation.cli
print(seen)
"""
    assert run(code).strip() == "[]"


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_requirements_pin_every_package_by_hash_and_name_no_host(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text()
    assert not ADDRESS.search(text)
    entries = [entry.split(" \\\n") for entry in re.split(r"\n(?! )", text.strip())]
    assert len(entries) > 20
    for name, *hashes in entries:
        assert PINNED.fullmatch(name), name
        assert hashes, name
        assert all(HASH.fullmatch(line) for line in hashes), name


def test_the_development_requirements_are_the_base_and_more() -> None:
    base, dev = (set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / f).read_text(), re.M)) for f in REQUIREMENTS)
    assert base < dev


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    found = {
        str(file.relative_to(ROOT)): match.group().decode()
        for file in files
        if file.is_file() and (match := BUILD_PATH.search(file.read_bytes()))
    }
    assert found == {}
