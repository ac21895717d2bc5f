"""Nipype's MultiProc within the process of a subject, which notices that a worker was killed."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.processes import die_with_parent


def _start_worker(cwd: str, parent: int) -> None:
    die_with_parent(parent)
    process_initializer(cwd)


class WatchedMultiProc(MultiProcPlugin):  # type: ignore[misc, unused-ignore]
    """MultiProc whose workers end with this process, and which ends if one of them is killed.

    Nipype hangs if a worker is killed (its issues 2548 and 2700).

    Parameters
    ----------
    plugin_args : dict
        As for `MultiProcPlugin`.

    Raises
    ------
    AnalysisError
        By `run`, if a worker was killed or a step ended without a result. Other nodes may have been lost with it, so
        that no result is complete.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool = ProcessPoolExecutor(  # workers start with the first task
            max_workers=self.processors, initializer=_start_worker, initargs=(str(Path.cwd()), os.getpid())
        )

    def _async_callback(self, args: Any) -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:  # noqa: FBT001, FBT002
        for task in self._task_obj.values():
            fault = task.exception() if task.done() else None
            if isinstance(fault, BrokenProcessPool):
                raise _killed() from fault
            if fault is not None:  # nipype would hang
                raise AnalysisError(
                    f"expected a result of every step, found {type(fault).__name__}",
                    hint="check the free space of the work folder, then repeat the run",
                ) from fault
        try:
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        except BrokenProcessPool as error:
            raise _killed() from error


def _killed() -> AnalysisError:
    return AnalysisError(
        "expected all worker processes until the end, found a killed worker process (possibly out of memory)",
        hint="repeat the run, with fewer processes or more memory",
    )
