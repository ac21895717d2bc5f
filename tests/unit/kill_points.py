"""Moments at which a process kills itself: before each change that an ingest makes for good."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.registry import Registry
from reading_centre.use_cases.trial import staging
from reading_centre.use_cases.uploads.ingest import visit as ingest
from workflows.interfaces import intake as steps

FIRST = (
    "unpack", "convert", "flush", "key", "registry", "move scan", "move series", "participants", "remove stage",
)  # fmt: skip
"""Of the first ingest of a visit."""

REPLACEMENT = (*FIRST[:5], "move earlier series", "move reads", "move earlier scan", *FIRST[5:])


class Guard:
    """Kill this process before call number `step`, from 0, of the guarded functions. `seen` is the latest call."""

    def __init__(self, step: int) -> None:
        self.step, self.seen = step, -1

    def __call__(self, function):
        def call(*args, **kwargs):
            self.seen += 1
            if self.seen == self.step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call


def install(step: int) -> None:
    """Kill this process before change number `step`."""
    guarded = Guard(step)
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
