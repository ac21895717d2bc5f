"""The server as a process: it survives a kill without losing what it answered, and says what it cannot use."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest

from reading_centre import cli
from tests.unit.reading_trial import write_unread_trial
from tests.unit.web_trial import PASSWORDS, Desk, server, write_web_trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return write_web_trial(tmp_path_factory.mktemp("server") / "trial")


@contextmanager
def signed_in(url):
    with httpx2.Client(base_url=url, headers={"Origin": url}, timeout=60) as client:
        assert client.post("/login", data={"login": "R1", "password": PASSWORDS["R1"]}).status_code == 303
        yield client


def draw_until_killed(desk, process, free):
    """Draw voxel after voxel while the process is killed; returns the number of answered operations."""
    answered = 0
    killer = threading.Timer(0.05, os.kill, (process.pid, signal.SIGKILL))
    for number, voxel in enumerate(free, start=1):
        try:
            answer = desk.do(number, op="voxels", kind="T2", runs=[[voxel, 1, 0, NEW]])
        except httpx2.TransportError:
            break
        assert answer.status_code == 200, answer.text
        answered = number
        if number == ANSWERED:
            killer.start()
    killer.join()
    return answered


NEW, ANSWERED = 300, 12


def test_a_killed_server_has_lost_nothing_that_it_answered(trial):
    with server(trial) as (process, url), signed_in(url) as client:
        code = re.findall(r"/reading/(\w{24})", client.get("/").text)[0]
        desk = Desk(client, code)
        desk.lease()
        before = desk.labels("T2").ravel(order="F")
        shown = np.frombuffer(desk.get("volumes/flair").content, "<u2")
        free = np.flatnonzero((before == 0) & (shown > 0)).tolist()
        answered = draw_until_killed(desk, process, free)
    assert answered >= ANSWERED
    with server(trial) as (process, url), signed_in(url) as client:
        desk = Desk(client, code)
        stored = desk.case["next_number"] - 1
        assert stored in {answered, answered + 1}
        expected = before.copy()
        expected[free[:stored]] = NEW
        assert np.array_equal(desk.labels("T2").ravel(order="F"), expected)
        operation = {"op": "voxels", "kind": "T2", "runs": [[free[stored - 1], 1, 0, NEW]]}
        assert desk.do(stored, **operation).json()["next_number"] == stored + 1  # the browser sends it again
        assert desk.lease() == {"held": True, "by_other": False}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_one_server_serves_a_trial(trial, capsys):
    with server(trial):
        assert cli.invoke(["serve", str(trial.root), "--port", "0"]) == 2
    assert re.search(r"a server of this trial is running already \(process \d+ on \S+\)", capsys.readouterr().err)


def test_what_cannot_be_used_is_named(trial, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        pem = tmp_path / "no.pem"
        pem.write_text("no certificate")
        unread = write_unread_trial(tmp_path / "unread")
        tls = ["--tls-cert", str(pem), "--tls-key", str(pem)]
        for arguments, message in (
            ([str(tmp_path)], "expected a trial"),
            ([str(unread.root)], "expected readers or accounts with a password in trial.toml, found none"),
            ([str(trial.root), "--port", port], "expected a free port on an address of this machine"),
            ([str(trial.root), "--host", "192.0.2.1", "--port", "0"], "expected a free port on an address"),
            ([str(trial.root), "--port", "0", *tls], "expected a certificate and its key in PEM form"),
            ([str(trial.root), *tls[:2]], "expected --tls-cert with --tls-key, found --tls-cert alone"),
        ):
            assert cli.invoke(["serve", *arguments]) == 2, arguments
            assert message in capsys.readouterr().err


def test_other_commands_do_not_import_the_web():
    code = "import sys; from reading_centre import cli; cli.invoke(['status', '--help']); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "reading_centre.commands.serve" in found
    assert not {"fastapi", "starlette", "uvicorn"} & set(found.split())
