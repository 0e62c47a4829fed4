"""`distill serve`: the gateway with the deployed student, or observing only where there is none.

What this file does not know: how requests are answered.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, settings_at
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.settings import Settings, load_settings

__all__ = ["gateway", "serve_command"]


@click.command(
    "serve",
    epilog=examples(
        "distill serve --upstream https://api.openai.com/v1", "distill serve --model distill-report --port 9000"
    ),
)
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a report or of a log with a deployed model.")
@click.option("--upstream", help="OpenAI-compatible base URL of the teacher, ending in /v1.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.  [default: 8080]")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that share the address.  [default: 1]")
@click.option("--socket", "descriptor", type=int, hidden=True, help="Of a worker: the socket that it shares.")
@click.option("--audit-rate", type=float, help="Share of sent calls that the teacher checks.  [default: 0.05]")
@click.option("--observe", is_flag=True, help="Answer nothing locally; only relay and log.")
def serve_command(
    model: Path | None, upstream: str | None, observe: bool, descriptor: int | None, **chosen: Any
) -> None:
    """Serve an OpenAI-compatible endpoint: the student answers what it may, the teacher all the rest.

    The teacher's key is read from the variable named by DISTILL_UPSTREAM_KEY_ENV (OPENAI_API_KEY by
    default). Without a deployed model everything is relayed and logged.
    """
    settings = _settings(model, upstream_url=upstream, **chosen)
    if descriptor is None and settings.workers > 1:
        sys.exit(_supervise(settings))
    with contextlib.suppress(KeyboardInterrupt):  # how a server is stopped; it has finished what was under way
        _serve(settings, observe, descriptor)


def _serve(settings: Settings, observe: bool, descriptor: int | None) -> None:
    from ultracore.distillation.serve.server import serve
    from ultracore.distillation.serve.workers import end_with_parent

    app, said = gateway(settings, observe=observe)
    if descriptor is None:
        Console(stderr=True).print(said, markup=False, highlight=False, soft_wrap=True)
        return serve(app, settings)
    end_with_parent()
    return serve(app, settings, listener=socket.socket(fileno=descriptor))


def _supervise(settings: Settings) -> int:
    """Start workers with the command line of this process."""
    from ultracore.distillation.serve.server import check_address
    from ultracore.distillation.serve.workers import Supervisor, bind

    check_address(settings)
    listener = bind(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    click.echo(f"distill gateway on http://{host}:{port}/v1, {settings.workers} processes", err=True)
    program = "from ultracore.distillation.cli import main; main()"
    return Supervisor([sys.executable, "-c", program, *sys.argv[1:], "--socket"], settings.workers, listener).run()


def gateway(settings: Settings, *, observe: bool = False) -> tuple[Any, str]:
    """The application and one paragraph that says what it will do.

    Raises:
        ConfigurationError: There is neither a deployed model nor a teacher to relay to.
        ArtefactError: The deployed model's files are missing or altered.
    """
    from ultracore.distillation.events.sqlite import open_store
    from ultracore.distillation.serve.app import create_app
    from ultracore.distillation.serve.gate import Gate
    from ultracore.distillation.serve.upstream import upstream_from_settings
    from ultracore.distillation.students.registry import ModelRegistry

    store = open_store(settings.home_path)
    deployed = None if observe else ModelRegistry(settings.home_path, store).active(settings.tenant)
    upstream = upstream_from_settings(settings)
    if deployed is None and upstream is None:
        raise ConfigurationError(
            f"no certified model is deployed in {settings.home_path} and no teacher is named: "
            "give --upstream https://host/v1, or certify a model first with distill run"
        )
    gate = None if deployed is None else Gate(deployed.student, deployed.certificate)
    app = create_app(store=store, upstream=upstream, gate=gate, settings=settings)
    return app, _words(settings, deployed)


def _settings(model: Path | None, **chosen: Any) -> Settings:
    if model is not None:
        return settings_at(find_home(model), **chosen)
    try:
        return settings_at(find_home(None), **chosen)
    except ConfigurationError:  # nothing was ever logged: begin, in the usual place
        return load_settings(**chosen)


def _words(settings: Settings, deployed: Any) -> str:
    lines = [f"distill gateway on http://{settings.host}:{settings.port}/v1, log in {settings.home_path}"]
    if deployed is None:
        lines.append("No student is deployed: every request is relayed to the teacher and logged.")
    else:
        lines.append(f"Student {deployed.model_id}: {deployed.certificate.reason}")
    if settings.upstream_url is None:
        lines.append("No teacher is named (--upstream): what the student may not answer gets status 503.")
    else:
        lines.append(f"Teacher: {settings.upstream_url}, key from ${settings.upstream_key_env}")
    return "\n".join(lines)
