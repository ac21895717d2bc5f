"""The digital reference trial, analysed for the operational qualification (OQ)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from mri_pipeline.core.layout import Trial
from mri_pipeline.tables.io import read_table
from reading_centre.use_cases.demo import ReferenceRun

TIMEPOINTS: Final = "lesion_timepoints.csv"


@dataclass(frozen=True)
class Reference:
    """The analysed digital reference trial.

    Parameters
    ----------
    run : ReferenceRun
    scratch : Path
        Folder for copies.
    nprocs : int
        Processes that may run at once.
    """

    run: ReferenceRun
    scratch: Path
    nprocs: int = 1

    @property
    def trial(self) -> Trial:
        """The trial."""
        return self.run.trial

    def timepoints(self) -> list[dict[str, str]]:
        """Rows of lesion_timepoints.csv as text.

        Returns
        -------
        list of dict
        """
        return read_table(self.trial.tables / TIMEPOINTS)

    @contextmanager
    def copy(self, *without: str) -> Iterator[Trial]:
        """A copy of the trial, removed afterwards.

        Parameters
        ----------
        *without : str
            Names of folders that are left empty. The cache is always.

        Yields
        ------
        Trial
        """
        left_out = {"work", *without}
        with TemporaryDirectory(prefix="copy-", dir=self.scratch) as folder:
            copied = Trial(Path(folder) / "trial")
            shutil.copytree(self.trial.root, copied.root, ignore=partial(_left_out, self.trial.root, left_out))
            for path in copied.folders():
                path.mkdir(parents=True, exist_ok=True)
            yield copied


def _left_out(root: Path, names: set[str], folder: str, _entries: list[str]) -> set[str]:
    return names if Path(folder) == root else set()
