"""`python -m benchmarks [NAME...]`: print every figure that we claim, or those of some benchmarks.

Sections are kept as JSON in the output folder; `--write` renders all that are there into RESULTS.md, where others stay.
What this file does not know: how anything is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import (
    autonomy,
    certificates,
    curation,
    curation_recall,
    curation_speed,
    dashboard,
    errors,
    gateway,
    log,
    postgres,
    privacy,
    products,
    prompts,
    replay,
    robustness,
    speed,
    splits,
    start,
    students,
    teacher_noise,
    watching,
)
from benchmarks.data import SETS, MissingDataError, Size, default_data
from benchmarks.provenance import ROOT, measured
from benchmarks.sections import Section, load_sections, markdown, renewed, save

Job = tuple[str, Callable[[], Section]]

NAMES = (
    "students",
    "errors",
    "certificates",
    "splits",
    "robustness",
    "speed",
    "log",
    "start",
    "gateway",
    "replay",
    "privacy",
    "postgres",
    "prompts",
    "products",
    "curation",
    "curation-speed",
    "curation-recall",
    "dashboard",
    "autonomy",
    "watching",
    "teacher-noise",
)
HERE = ROOT / "benchmarks"


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    given = list(sys.argv[1:] if words is None else words)
    options = _options(given)
    for name, measure in _jobs(options):
        section = _measure(name, measure, given)
        print(markdown([section], head="", details=True), flush=True)
        if not section.skipped:
            save(section, options.out)
    if options.write:
        results = HERE / "RESULTS.md"
        results.write_text(renewed(results.read_text(encoding="utf-8"), load_sections(options.out)), encoding="utf-8")
    return 0


def _measure(name: str, measure: Callable[[], Section], words: Sequence[str]) -> Section:
    try:
        with measured(_shown(words)) as provenance:
            section = measure()
    except MissingDataError as missing:
        return Section(name, skipped=str(missing))
    section.provenance = provenance
    return section


def _jobs(options: argparse.Namespace) -> Iterator[Job]:
    size, wanted = Size(options.quick, options.full), options.names or NAMES
    for name in wanted:
        yield from _JOBS[name](options, size)


def _students(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    for name in options.only or SETS:
        if name in SETS:
            yield (
                f"students/{name}",
                lambda name=name: students.measure_students(
                    name, options.data, size, options.processes, with_mixle=options.with_mixle
                ),  # type: ignore[misc]
            )


def _errors(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    for name in options.only or SETS:
        yield f"errors/{name}", lambda name=name: errors.measure_errors(name, options.data, size)  # type: ignore[misc]


def _splits(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    for name in options.only or splits.PLANS:
        if name in splits.PLANS:
            yield f"splits/{name}", lambda name=name: splits.measure_splits(name, options.data, size)  # type: ignore[misc]


def _robustness(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    if options.only is None or "bank" in options.only:
        yield "robustness", lambda: robustness.measure_robustness(quick=size.quick)
    for name in ("airline", "telecom"):
        if options.only is None or name in options.only:
            yield f"robustness/{name}", lambda name=name: robustness.measure_shift(name, options.data, size)  # type: ignore[misc]


def _certificates(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "certificates", lambda: _simulated(2 if size.quick else 100)


def _speed(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "speed", lambda: speed.measure_speed(quick=size.quick)


def _log(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "log", lambda: log.measure_log(quick=size.quick)


def _start(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "start", lambda: start.measure_start(quick=size.quick)


def _gateway(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "gateway", lambda: gateway.measure_gateway(quick=size.quick, with_litellm=options.with_litellm)


def _replay(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "replay", lambda: replay.measure_replay(quick=size.quick)


def _privacy(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "privacy", lambda: privacy.measure_privacy(quick=size.quick)


def _products(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "products", lambda: products.measure_products(quick=size.quick)


def _postgres(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "postgres", lambda: postgres.measure_postgres(quick=size.quick)


def _curation(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    for name in options.only or curation.CURATED:
        if name in curation.CURATED:
            yield (
                f"curation/{name}",
                lambda name=name: curation.measure_curation(name, options.data, size, options.out, options.processes),  # type: ignore[misc]
            )


def _curation_speed(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "curation-speed", lambda: curation_speed.measure_curation_speed(options.data, size)


def _curation_recall(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "curation-recall", lambda: curation_recall.measure_curation_recall(size)


def _autonomy(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "autonomy", lambda: autonomy.measure_autonomy(quick=size.quick)


def _dashboard(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "dashboard", lambda: dashboard.measure_dashboard(quick=size.quick)


def _watching(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    yield "watching", lambda: watching.measure_watching(quick=size.quick)


def _teacher_noise(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    for name in options.only or ("telecom-solo", *teacher_noise.NOISY):
        yield (
            f"teacher-noise/{name}",
            lambda name=name: teacher_noise.measure_teacher_noise(name, options.data, size),  # type: ignore[misc]
        )


def _prompts(options: argparse.Namespace, size: Size) -> Iterator[Job]:
    for name in options.only or prompts.SETS:
        if name in prompts.SETS:
            yield f"prompts/{name}", lambda name=name: prompts.measure_prompts(name, options.data, size)  # type: ignore[misc]


_JOBS: dict[str, Callable[[argparse.Namespace, Size], Iterator[Job]]] = {
    "students": _students,
    "errors": _errors,
    "certificates": _certificates,
    "splits": _splits,
    "robustness": _robustness,
    "speed": _speed,
    "log": _log,
    "start": _start,
    "gateway": _gateway,
    "replay": _replay,
    "privacy": _privacy,
    "postgres": _postgres,
    "prompts": _prompts,
    "products": _products,
    "watching": _watching,
    "curation": _curation,
    "curation-speed": _curation_speed,
    "curation-recall": _curation_recall,
    "dashboard": _dashboard,
    "autonomy": _autonomy,
    "teacher-noise": _teacher_noise,
}


def _simulated(populations: int) -> Section:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        certificates.main(populations)
    about = f"simulated populations whose true risk is known, {populations} a table row"
    text = printed.getvalue().strip()
    return Section("certificates", about, text=text)


def _shown(words: Sequence[str]) -> list[str]:
    """The words of the command without folders of this machine: they say nothing to anybody else."""
    kept, skip = [], False
    for word in words:
        if not skip and word not in ("--data", "--out"):
            kept.append(word)
        skip = word in ("--data", "--out")
    return kept


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(words)
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.quick and options.write:
        parser.error("--write with --quick would pass a few tasks off as results")
    options.out = options.out or HERE / "out" / ("quick" if options.quick else "")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder of other people's traces")
    parser.add_argument("--only", nargs="+", metavar="SET", choices=[*SETS], help=f"of {', '.join(SETS)}")
    parser.add_argument("--quick", action="store_true", help="a few tasks only: shows that it works, nothing else")
    parser.add_argument("--full", action="store_true", help="all rows of the large sets")
    parser.add_argument("--processes", type=int, default=2, help="folds measured at a time")
    parser.add_argument("--with-mixle", action="store_true", help="students, snips: measure mixle too; installs it")
    parser.add_argument("--with-litellm", action="store_true", help="gateway: measure LiteLLM's proxy too; installs it")
    parser.add_argument("--out", type=Path, help="folder of the figures as JSON")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md from the figures of that folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
