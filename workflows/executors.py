"""Where the processes of subjects run: on this machine, or as jobs of a cluster (`workflows.cluster`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.errors import SettingsError
from workflows import ONE_THREAD
from workflows.plugin import Plugin

PROGRAM: tuple[str, ...] = (sys.executable, "-m", "workflows.job")
"""Program of a subject; its first argument is the job file."""

SUBJECT_MEMORY_GB: Final = 2.0
"""Memory planned for the process of a subject (1 GB = 1e9 bytes). Measured: 1.5 with three visits of 2D scans."""

JOB_MEMORY_GB: Final = 4.0
"""Memory that is requested for a cluster job. A job that exceeds it is killed; 3D scans and more visits need more."""

_PATIENCE_S: Final = 10.0
"""How long a process may take to end after SIGTERM."""


@dataclass(frozen=True)
class ClusterOptions:
    """Resources of a cluster job.

    Parameters
    ----------
    partition, account : str
        Empty: the user's default.
    minutes : int or None
        Time limit of a job; None: by the number of visits.
    memory_gb : float
        Memory of a job (1 GB = 1e9 bytes).
    command : str
        Command that runs a program elsewhere and waits for its end, in place of the executor of the plugin.
    """

    partition: str = ""
    account: str = ""
    minutes: int | None = None
    memory_gb: float = JOB_MEMORY_GB
    command: str = ""


@dataclass(frozen=True)
class Execution:
    """How the subjects of a run are analysed.

    Parameters
    ----------
    plugin : Plugin
    nprocs : int
        Number of processes (SLURM: of jobs at a time).
    memory_gb : float or None
        Memory limit of MultiProc in GB (1e9 bytes). None: 90 % of the memory of this process.
    cluster : ClusterOptions
    keep_work : bool
        True: the cache of a subject is kept after its success.

    Raises
    ------
    SettingsError
        If `nprocs` is below 1.
    """

    plugin: Plugin = Plugin.MULTIPROC
    nprocs: int = 1
    memory_gb: float | None = None
    cluster: ClusterOptions = ClusterOptions()
    keep_work: bool = False

    def __post_init__(self) -> None:
        if self.nprocs < 1:
            raise SettingsError(f"expected at least one process, found {self.nprocs}")


@dataclass(frozen=True)
class Ending:
    """How the process of a subject ended.

    Parameters
    ----------
    cause : str
        Why it ended; empty if it ended by itself.
    untouched : bool
        True if the cause says nothing about the scans of the subject.
    """

    cause: str = ""
    untouched: bool = False


class Executor(Protocol):
    """Submits the jobs of subjects and knows which have ended. A job writes its own outcome file."""

    def free(self) -> int:
        """Number of jobs that may be submitted now.

        Returns
        -------
        int
        """
        ...

    def adopt(self, job: SubjectJob) -> bool:
        """Take over the process that an earlier run has started for a subject.

        Parameters
        ----------
        job : SubjectJob

        Returns
        -------
        bool
            False if there is none.
        """
        ...

    def submit(self, job: SubjectJob, *, nprocs: int) -> str:
        """Start the process of a subject, or queue it.

        Parameters
        ----------
        job : SubjectJob
            With its job file.
        nprocs : int
            Processes for its visits.

        Returns
        -------
        str
            Why it could not be submitted; empty if it was.
        """
        ...

    def ended(self) -> dict[str, Ending]:
        """Subjects whose process has ended since the last call.

        Returns
        -------
        dict of str to Ending
        """
        ...

    def cancel(self) -> None:
        """End all processes and jobs."""
        ...


class LocalExecutor:
    """A process for each subject on this machine. They end with this process, also if it is killed.

    Parameters
    ----------
    slots : int
        Number of processes at a time.
    prefix : sequence of str
        Command in front of that of the subject. It has to wait for its end, such as ``srun``, ``bsub -K`` or
        ``qsub -sync y -b y``.
    """

    def __init__(self, slots: int, prefix: Sequence[str] = ()) -> None:
        self._slots, self._prefix = slots, tuple(prefix)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def free(self) -> int:
        """Number of jobs that may be submitted now.

        Returns
        -------
        int
        """
        return self._slots - len(self._running)

    def adopt(self, job: SubjectJob) -> bool:  # noqa: ARG002 - of the protocol
        """Always False: processes end with the run that started them.

        Parameters
        ----------
        job : SubjectJob

        Returns
        -------
        bool
        """
        return False

    def submit(self, job: SubjectJob, *, nprocs: int) -> str:
        """Start the process of a subject. Its output is appended to the log of the subject.

        Parameters
        ----------
        job : SubjectJob
            With its job file.
        nprocs : int
            Processes for its visits.

        Returns
        -------
        str
            Why it could not be started; empty if it was.
        """
        parent = [] if self._prefix else ["--parent", str(os.getpid())]
        arguments = [*self._prefix, *PROGRAM, str(job.file), "--nprocs", str(nprocs), *parent]
        job.log_file.parent.mkdir(parents=True, exist_ok=True)
        with job.log_file.open("ab") as log:
            try:
                self._running[job.subject] = subprocess.Popen(
                    arguments, env={**os.environ, **ONE_THREAD}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            except OSError as error:
                return f"expected a command that can be run, found {error.strerror}"
        return ""

    def ended(self) -> dict[str, Ending]:
        """Subjects whose process has ended since the last call.

        Returns
        -------
        dict of str to Ending
            With the signal that ended it.
        """
        found = {}
        for subject, process in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[subject]
                found[subject] = Ending(_cause(code))
        return found

    def cancel(self) -> None:
        """End all processes."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            process.kill()
            process.wait()
        self._running.clear()


def _cause(code: int) -> str:
    if code >= 0:
        return ""
    memory = " (possibly out of memory)" if -code == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{memory}"
