"""A trial with locked reads and tables, and changes of it that bypass the program."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.tables import SITE, write_trial
from mri_pipeline.blinding.codes import IssuedCodes
from mri_pipeline.blinding.secret import Secret
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from reading_centre.use_cases.reading.lock import lock_reads
from reading_centre.use_cases.tables.trial_tables import write_trial_tables

CODE, NUMBER = "BENCH000", "0001"
__all__ = ["CODE", "NUMBER", "SITE", "behind_the_trail", "flip", "registry_of", "write_locked_trial"]


def write_locked_trial(folder: Path) -> Trial:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "lock_reads", lambda self, reads, **kwargs: None)
        trial = write_trial(folder, subjects=1, shape=(40, 44, 14))
    lock_reads(trial.root, reader="R1")
    # the benchmark names its subjects itself: enter the code as `Sealed.code_for` does
    with (trial.sealed / "subjects.csv").open("a") as stream:
        stream.write(f"{CODE},{SITE},{NUMBER}\n")
    IssuedCodes(trial.sealed, Secret.read(trial.sealed)).issue(CODE, f"{SITE}|{NUMBER}".upper())
    write_trial_tables(trial.root, provisional=False)
    return trial


def registry_of(trial: Trial) -> Registry:
    return Registry.open(trial, load_protocol(trial.protocol_file))


def behind_the_trail(trial: Trial, *statements: str) -> None:
    """Change the database without the program, as its owner can."""
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        for trigger in ("audit_no_update", "audit_no_delete"):
            raw.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            assert raw.execute(statement).rowcount > 0


def flip(path: Path, at: int = -20) -> None:
    """Change one bit of a file."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
