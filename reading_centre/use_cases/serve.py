"""Serve the web application of a trial."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread

import uvicorn

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry, Use
from reading_centre.use_cases.reading.images import CACHE
from reading_centre.use_cases.reading.room import ReadingRoom
from reading_centre.use_cases.reading.signature import finish_signed
from reading_centre.use_cases.trial.people import finish_passwords
from reading_centre.use_cases.trial.roles import finish_roles
from reading_centre.use_cases.trial.storage import no_free_port
from reading_centre.use_cases.uploads.jobs import Worker, lanes_with_work
from reading_centre.use_cases.uploads.task import settle_decided
from reading_centre.use_cases.uploads.waiting import sweep_uploads
from reading_centre.web.app import create_app

_LOG = logging.getLogger(__name__)
_STOP_S = 10
SWEEP_EVERY_S = 900.0
"""Time between two sweeps of the uploads."""


@dataclass(frozen=True)
class Address:
    """Where the application listens.

    Parameters
    ----------
    host : str
        Address or name of this machine.
    port : int
        0 for any free port.
    certificate, key : Path or None
        PEM files for TLS.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


def serve_trial(folder: Path, address: Address, *, report: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    address : Address
    report : callable
        Gets one line for the terminal.

    Raises
    ------
    UsageError
        If there is no trial, nobody has a password, the address or the TLS files cannot be used, or another process
        serves the trial.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    if not any(person.login_hash for person in (*protocol.readers, *protocol.accounts)):
        raise UsageError(
            "expected readers or accounts with a password in trial.toml, found none",
            hint="make accounts: mri-pipeline read TRIAL --account --reader R",
        )
    try:
        with (
            exclusive(trial.staging / "serve.lock", wait_s=0),
            Registry.open(trial, protocol, Use.NUMBERS) as registry,
            closing(_listening(address)) as listener,
        ):
            room = ReadingRoom(trial, protocol, registry)
            (trial.work / CACHE).mkdir(parents=True, exist_ok=True)  # from now on a run prepares the images
            worker = Worker(trial)
            server = uvicorn.Server(_config(create_app(room, worker), address))
            finish_passwords(room.people, registry)
            finish_roles(room.people.protocol, registry)
            finish_signed(room)
            with _sweeping(trial, registry, worker):
                report(_line(address, listener))
                server.run(sockets=[listener])
    except LockedError as error:
        raise UsageError(
            f"a server of this trial is running already ({error.holder})", hint="stop it, or use it"
        ) from error


@contextmanager
def _sweeping(trial: Trial, registry: Registry, worker: Worker) -> Iterator[None]:
    """Sweep the uploads regularly (`SWEEP_EVERY_S`), and start the process that does jobs if there is work.

    There is work at the start if an earlier server was stopped, and later if the disk was full.
    """
    stopped = Event()

    def sweep() -> None:
        while True:
            try:
                sweep_uploads(trial, registry)
                settle_decided(trial, registry)
                for lane in lanes_with_work(trial, registry):
                    worker.start(lane)
            except Exception as error:  # noqa: BLE001 - the next sweep may succeed
                _LOG.error("the uploads could not be swept (%s)", type(error).__name__)
            if stopped.wait(SWEEP_EVERY_S):
                return

    thread = Thread(target=sweep, name="sweep")
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _config(app: object, address: Address) -> uvicorn.Config:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_STOP_S,
        ssl_certfile=address.certificate, ssl_keyfile=address.key,
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"expected a certificate and its key in PEM form, found files that cannot be used ({type(error).__name__})",
            hint="check --tls-cert and --tls-key",
        ) from error
    return config


def _listening(address: Address) -> socket.socket:
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise no_free_port(error) from error


def _line(address: Address, listener: socket.socket) -> str:
    scheme = "https" if address.certificate else "http"
    port = listener.getsockname()[1]
    if not address.certificate and not _is_loopback(address.host):
        _LOG.warning("passwords and images leave this machine without TLS: use --tls-cert, or a proxy with TLS")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"reading room: {scheme}://{host}:{port}/"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
