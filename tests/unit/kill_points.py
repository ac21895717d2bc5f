"""Moments at which a process kills itself: before each change that an ingest makes for good."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.registry import Registry
from reading_centre.use_cases import ingest, staging
from workflows.interfaces import intake as steps

FIRST = ("unpack", "convert", "flush", "key", "registry", "move scan", "participants", "remove stage")
"""Of the first ingest of a visit."""

REPLACEMENT = (*FIRST[:5], "move reads", "move earlier scan", *FIRST[5:])


def install(step: int) -> None:
    """Kill this process before change number `step`."""
    seen = -1

    def guarded(function):
        def call(*args, **kwargs):
            nonlocal seen
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    steps.unpack = guarded(steps.unpack)
    steps.convert_chosen = guarded(steps.convert_chosen)
    ingest.make_durable = guarded(ingest.make_durable)
    Sealed.code_for = guarded(Sealed.code_for)
    Registry.record_scan = guarded(Registry.record_scan)
    staging.list_participants = guarded(staging.list_participants)

    def rename(self, target, plain=Path.rename):
        return (guarded(plain) if "staging" in self.parts or "withdrawn" in Path(target).parts else plain)(
            self, target
        )

    def rmtree(path, *args, plain=shutil.rmtree, **kwargs):
        return (guarded(plain) if Path(path).parent.name == "staging" else plain)(path, *args, **kwargs)

    Path.rename, staging.shutil.rmtree = rename, rmtree
