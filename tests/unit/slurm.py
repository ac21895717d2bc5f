"""A private Slurm cluster of one node for tests: munged, slurmctld and slurmd on loopback, without systemd."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
ReturnToService=2
KillWait=2
OverTimeLimit=0
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=node1 Default=YES MaxTime=60 State=UP
"""


def installed() -> bool:
    """True if the programs of Slurm and Munge are there."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return all(shutil.which(program, path=path) for program in PROGRAMS)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def cluster() -> Iterator[Path]:
    """Run a cluster; yield its slurm.conf."""
    with tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True) as name, ExitStack() as running:
        folder = Path(name)
        folder.chmod(0o755)  # munged refuses its socket elsewhere
        configuration = folder / "slurm.conf"
        user = pwd.getpwuid(os.geteuid()).pw_name
        configuration.write_text(CONFIGURATION.format(folder=folder, user=user, ports=_free_ports(2)))
        for sub in ("state", "spool"):
            (folder / sub).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        environment = {**os.environ, "SLURM_CONF": str(configuration)}
        environment["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

        def start(*command: str) -> None:
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            running.callback(process.wait)
            running.callback(process.terminate)

        files = {"socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "seed"}
        start("munged", "--foreground", "--force", f"--key-file={key}",
              *(f"--{option}={folder / file}" for option, file in files.items()))  # fmt: skip
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", "node1")
        end = time.monotonic() + 60
        while "idle" not in _states(environment):
            if time.monotonic() > end:
                raise RuntimeError(f"Slurm did not start: {(folder / 'slurmctld.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield configuration


def _states(environment: dict[str, str]) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
