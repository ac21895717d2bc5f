"""Execution of Nipype workflows: settings, plugins, progress, failed nodes and their reasons.

Nothing is configured on import. Settings go into the workflow's own configuration, not into Nipype's global one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nipype import logging as nipype_logging
from nipype.pipeline.engine import Workflow

from mri_pipeline.core.errors import AnalysisError, SettingsError
from workflows.memory import USED_SHARE, memory_limit_gb
from workflows.plugin import Plugin, Progress
from workflows.pool import WatchedMultiProc

_LOGGER = logging.getLogger(__name__)


@dataclass
class NodeLog:
    """Status of each node of a run.

    Parameters
    ----------
    progress : callable, optional
        Called with the name and the status of each node.
    failed : list of str
        Full names of the failed nodes, in the order of their failure.
    """

    progress: Progress | None = None
    failed: list[str] = field(default_factory=list)

    def __call__(self, node: Any, status: str) -> None:
        """Nipype's status callback."""
        _LOGGER.info("%s: %s", node.fullname, status)
        if status == "exception":
            self.failed.append(node.fullname)
        if self.progress is not None:
            self.progress(node.fullname, status)


@contextmanager
def _silent_nipype() -> Iterator[None]:
    """Turn off Nipype's loggers during a run: `NodeLog` reports each node, and the crash files hold the errors."""
    loggers = [nipype_logging.getLogger(f"nipype.{name}") for name in ("workflow", "utils", "interface")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _configure(workflow: Workflow, crash_folder: Path) -> None:
    workflow.config["execution"] = {
        "crashdump_dir": str(crash_folder),
        "crashfile_format": "txt",
        "stop_on_first_crash": "false",
        "hash_method": "timestamp",  # size and time: a step that runs again rewrites its files
        "poll_sleep_duration": "0.1",
        "check_version": "false",
        "remove_unnecessary_outputs": "false",
        "create_report": "false",
    }
    for node in map(workflow.get_node, workflow.list_node_names()):
        if getattr(node.interface, "hash_by_content", False):
            node.config = {"execution": {"hash_method": "content"}}


def run_workflow(
    workflow: Workflow,
    *,
    plugin: Plugin,
    nprocs: int,
    crash_folder: Path,
    memory_gb: float | None = None,
    progress: Progress | None = None,
    plugin_args: dict[str, Any] | None = None,
) -> list[str]:
    """Run a workflow. A failed node does not stop the nodes that do not depend on it.

    Parameters
    ----------
    workflow : Workflow
        Its execution settings are replaced.
    plugin : Plugin
        Linear or MultiProc.
    nprocs : int
        Number of processes; not used by the linear plugin.
    crash_folder : Path
        Folder of the crash files.
    memory_gb : float, optional
        Memory limit of MultiProc in GB. Default: 90 % of the memory of this process.
    progress : callable, optional
        Called with the name and the status of each node.
    plugin_args : dict, optional
        Further arguments of the plugin.

    Returns
    -------
    list of str
        Full names of the failed nodes; empty if all are done.

    Raises
    ------
    SettingsError
        If `nprocs` is below 1.
    AnalysisError
        If a worker process of MultiProc was killed.
    Exception
        If the engine itself fails and no node does.
    """
    if nprocs < 1:
        raise SettingsError(f"expected at least one process, found {nprocs}")
    crash_folder.mkdir(parents=True, exist_ok=True)
    _configure(workflow, crash_folder)
    log = NodeLog(progress)
    arguments: dict[str, Any] = {"status_callback": log, **(plugin_args or {})}
    runner: str | WatchedMultiProc = Plugin.LINEAR.value
    if plugin is Plugin.MULTIPROC:
        # by default nipype plans with 90 % of the host's memory
        arguments |= {
            "n_procs": nprocs,
            "memory_gb": memory_gb or USED_SHARE * memory_limit_gb(),
            "raise_insufficient": False,
        }
        runner = WatchedMultiProc(arguments)
    try:
        with _silent_nipype():
            workflow.run(plugin=runner, plugin_args=arguments)
    except AnalysisError:  # a worker was killed; errors of nodes are wrapped
        raise
    except Exception as error:
        # an unexpected failure of the engine itself, such as a full disk: errors of nodes are wrapped
        if not log.failed or isinstance(error, OSError):
            raise
        _LOGGER.info("nodes failed: %s (%s)", ", ".join(log.failed), type(error).__name__)
    return log.failed


def failure_reason(crash_folder: Path, node: str, *, since: float = 0.0) -> str:
    """Reason of a failed node in one line: the last error of its newest crash file.

    The type is omitted for errors of this project and kept for unexpected errors.

    Parameters
    ----------
    crash_folder : Path
    node : str
        Full name of the node.
    since : float
        Older crash files are ignored; POSIX time in seconds.

    Returns
    -------
    str
    """
    name = node.rsplit(".", 1)[-1]
    files = [
        file
        for file in crash_folder.glob(f"crash-*-{name}-*.txt")
        if file.stat().st_mtime >= since
        and _first_line(file) == f"Node: {node}"  # other visits have nodes of the same name
    ]
    if not files:
        return "process terminated without output (killed, or out of memory)"
    newest = max(files, key=lambda f: f.stat().st_mtime)
    lines = (line.strip() for line in newest.read_text(encoding="utf-8", errors="replace").splitlines())
    errors = [match for line in lines if (match := _ERROR_LINE.match(line))]
    if not errors:
        return "unknown fault (see the crash file)"
    module, kind, message = errors[-1].group("module", "kind", "message")
    return message if module == "mri_pipeline.core.errors." else f"{kind}: {message}"


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().strip()


_ERROR_LINE = re.compile(
    r"^(?P<module>(?!nipype)(?:\w+\.)*)(?P<kind>\w*(?:Error|Exception|Warning)): (?P<message>.+)$"
)
