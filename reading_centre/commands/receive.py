"""``mri-pipeline receive``."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from reading_centre.command_options import TrialFolder
from reading_centre.console import say


def receive(
    trial: TrialFolder,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="TCP port to listen on.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Default: this machine only.")
    ] = "127.0.0.1",
    ae_title: Annotated[str, typer.Option("--ae-title", help="Own AE title.")] = "MRI_PIPELINE",
    quiet_seconds: Annotated[
        float,
        typer.Option("--quiet-seconds", min=0.1, help="A study is complete after this time without new images."),
    ] = 60.0,
    broken_seconds: Annotated[
        float,
        typer.Option(
            "--broken-seconds", min=0.1, help="Waiting time for the rest of an interrupted or incomplete study."
        ),
    ] = 1800.0,
) -> None:
    """Receive studies by DICOM C-STORE until SIGTERM or Ctrl-C; each is checked as by ingest."""
    from reading_centre.use_cases.uploads.receive import Node, receive_studies

    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        node = Node(host, port, ae_title, quiet_seconds, broken_seconds)
        receive_studies(trial, node, stop=stop, report=say, waiting=say)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    say("stopped")
