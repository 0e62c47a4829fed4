"""`distill serve`: the gateway with the deployed student, or observing only where there is none.

What this file does not know: how requests are answered.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import home_or_new, settings_at
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.policy import load_policy
from ultracore.distillation.settings import Mode, Settings

__all__ = ["gateway", "serve_command"]


EXAMPLES = (
    "distill serve --upstream https://api.openai.com/v1                   relay and log, learn later",
    "distill serve --model distill-report --port 9000                     answer what was certified",
    "distill serve --mode canary --audit-rate 0.2                         a tenth of the conversations",
    "distill serve --mode shadow                                          the student runs beside, nobody sees it",
    "distill serve --config distill.toml                                  everything else: see docs/gateway.md",
    "distill keys add support --tenant acme && distill serve --host 0.0.0.0",
)


@click.command("serve", epilog=examples(*EXAMPLES))
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a report or of a log with a deployed model.")
@click.option("--upstream", help="OpenAI-compatible base URL of the teacher, ending in /v1.")
@click.option(
    "--config", type=click.Path(path_type=Path), envvar="DISTILL_CONFIG", help="TOML file; see docs/gateway.md."
)
@click.option("--host", help="Address to listen on; a wider one needs a key.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.  [default: 8080]")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that share the address.  [default: 1]")
@click.option("--socket", "descriptor", type=int, hidden=True, help="Of a worker: the socket that it shares.")
@click.option("--mode", type=click.Choice(get_args(Mode)), help="What the student may do.  [default: active]")
@click.option("--canary-share", type=float, help="Share of the conversations in mode canary.  [default: 0.1]")
@click.option("--audit-rate", type=float, help="Share of sent calls that the teacher checks.  [default: 0.05]")
@click.option("--durability", type=click.Choice(["strict", "available"]), help="While the log is down.")
@click.option("--policy", help="TOML file about your tools, as of distill run.")
def serve_command(
    model: Path | None, config: Path | None, upstream: str | None, descriptor: int | None, **chosen: Any
) -> None:
    """Serve an OpenAI-compatible endpoint: the student answers what it may, the teacher all the rest.

    The teacher's key is read from the variable named by DISTILL_UPSTREAM_KEY_ENV (OPENAI_API_KEY by
    default). Without a deployed model everything is relayed and logged. `distill pause` sends
    everything to the teacher at once.
    """
    settings = settings_at(home_or_new(model), config, upstream_url=upstream, **chosen)
    if descriptor is None and settings.workers > 1:
        sys.exit(_supervise(settings))
    with contextlib.suppress(KeyboardInterrupt):  # how a server is stopped; it has finished what was under way
        _serve(settings, descriptor)


def _serve(settings: Settings, descriptor: int | None) -> None:
    from ultracore.distillation.serve.server import serve
    from ultracore.distillation.serve.workers import end_with_parent

    app, said = gateway(settings)
    if descriptor is None:
        Console(stderr=True).print(said, markup=False, highlight=False, soft_wrap=True)
        return serve(app, settings)
    end_with_parent()
    return serve(app, settings, listener=socket.socket(fileno=descriptor))


def _supervise(settings: Settings) -> int:
    """Start workers with the command line of this process; they share their counts through a folder."""
    from ultracore.distillation.serve.server import check_address
    from ultracore.distillation.serve.workers import Supervisor, bind

    check_address(settings, keyed=_keyed(settings))
    listener = bind(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    click.echo(f"distill gateway on http://{host}:{port}/v1, {settings.workers} processes", err=True)
    program = "from ultracore.distillation.cli import main; main()"
    with tempfile.TemporaryDirectory(prefix="distill-metrics-") as counts:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", counts)
        return Supervisor([sys.executable, "-c", program, *sys.argv[1:], "--socket"], settings.workers, listener).run()


def _keyed(settings: Settings) -> bool:
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.serve.keys import key_ring

    if os.environ.get(settings.gateway_key_env):
        return True
    store = open_store(settings.home_path, settings)
    try:
        return key_ring(store).required
    finally:
        store.close()


def gateway(settings: Settings) -> tuple[Any, str]:
    """The application and one paragraph that says what it will do.

    Raises:
        ConfigurationError: There is neither a deployed model nor a teacher to relay to, or the model was
            certified under another policy.
        ArtefactError: The deployed model's files are missing or altered.
    """
    from ultracore.distillation.dashboard.overview import Overview
    from ultracore.distillation.dashboard.pages import page_endpoints
    from ultracore.distillation.dashboard.products import products_page
    from ultracore.distillation.dashboard.prompts import prompts_page
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.products.store import ProductStore
    from ultracore.distillation.serve.app import create_app
    from ultracore.distillation.serve.deployment import Deployment
    from ultracore.distillation.serve.gate import Gate
    from ultracore.distillation.serve.products import product_endpoints
    from ultracore.distillation.serve.spill import Spill
    from ultracore.distillation.serve.upstream import upstream_from_settings
    from ultracore.distillation.students.registry import Deployed, ModelRegistry

    store = open_store(settings.home_path, settings)
    registry = ModelRegistry(settings.home_path, store)
    policy = load_policy(None if settings.policy is None else Path(settings.policy))

    def gate_of(model: Deployed) -> Gate:
        return Gate(model.student, model.certificate, never=policy.never_under(model.certificate.policy))

    deployment = Deployment(registry, settings.tenant, gate_of)
    upstream = upstream_from_settings(settings)
    if deployment.gate is None and upstream is None:
        raise ConfigurationError(
            f"no certified model is deployed in {settings.home_path} and no teacher is named: "
            "give --upstream https://host/v1, or certify a model first with distill run"
        )
    spill = Spill(settings.home_path / "spill", protection=store.protection)
    rows = ProductStore(store, settings.home_path)
    pages = [Overview(store, settings).page(), products_page(rows), prompts_page(store)]
    app = create_app(
        store=store,
        upstream=upstream,
        gate=None,
        settings=settings,
        spill=spill,
        deployment=deployment,
        more=[*page_endpoints(pages), *product_endpoints(rows)],
    )
    keyed = app.state.ring.required or bool(os.environ.get(settings.gateway_key_env))
    return app, _words(settings, deployment.gate, paused=app.state.gateway.switch.paused, keyed=keyed)


def _words(settings: Settings, gate: Any, *, paused: bool, keyed: bool) -> str:
    address = f"http://{settings.host}:{settings.port}"
    lines = [f"distill gateway on {address}/v1, dashboard at {address}/, log in {settings.home_path}"]
    if gate is None:
        lines.append("No student is deployed: every request is relayed to the teacher and logged.")
    else:
        lines.append(f"Student {gate.student.model_id}, mode {settings.mode}: {gate.certificate.reason}")
    if paused:
        lines.append("Paused: everything goes to the teacher until `distill resume`.")
    if keyed:
        lines.append("Clients need a key: `distill keys add NAME` makes one.")
    return "\n".join([*lines, _teacher(settings)])


def _teacher(settings: Settings) -> str:
    if settings.upstreams is not None:
        return f"Teacher: the servers in {settings.upstreams}"
    if settings.upstream_url is None:
        return "No teacher is named (--upstream): what the student may not answer gets status 503."
    is_set = "" if os.environ.get(settings.upstream_key_env) else ", which is NOT set"
    return f"Teacher: {settings.upstream_url}, key from ${settings.upstream_key_env}{is_set}"
