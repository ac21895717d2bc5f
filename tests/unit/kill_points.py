"""Moments at which a process kills itself: before each change that an ingest makes for good."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.registry import Registry
from reading_centre.use_cases import conversion, gate, ingest, staging

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

    gate.unpack = guarded(gate.unpack)
    conversion.convert_checked = guarded(conversion.convert_checked)
    ingest.make_durable = guarded(ingest.make_durable)
    Sealed.code_for = guarded(Sealed.code_for)
    Registry.record_scan = guarded(Registry.record_scan)
    staging.enter_participant = guarded(staging.enter_participant)

    def rename(self, target, plain=Path.rename):
        return (guarded(plain) if "staging" in self.parts or "withdrawn" in Path(target).parts else plain)(
            self, target
        )

    def rmtree(path, *args, plain=shutil.rmtree, **kwargs):
        return (guarded(plain) if Path(path).parent.name == "staging" else plain)(path, *args, **kwargs)

    Path.rename, staging.shutil.rmtree = rename, rmtree
