"""``mri-pipeline serve``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import UsageError
from reading_centre.command_options import TrialFolder
from reading_centre.console import say


def serve(
    trial: TrialFolder,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Default: this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="TCP port to listen on; 0: any.")] = 8080,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain for TLS (PEM).")] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="Private key of the certificate (PEM).")
    ] = None,
) -> None:
    """Serve the web application (reading room, sites, trial office) until SIGTERM or Ctrl-C."""
    if (tls_cert is None) != (tls_key is None):
        found = "--tls-cert" if tls_key is None else "--tls-key"
        raise UsageError(f"expected --tls-cert with --tls-key, found {found} alone", hint="give both, or none")
    from reading_centre.use_cases.serve import Address, serve_trial

    # the server stops on these signals and raises them again at its end
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        serve_trial(trial, Address(host, port, tls_cert, tls_key), report=say)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    say("stopped")
