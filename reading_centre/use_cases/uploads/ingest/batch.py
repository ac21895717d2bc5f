"""Ingest of a batch of uploads, each in a process of its own."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mri_pipeline.core.errors import AnalysisError, UploadRefusedError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from reading_centre.use_cases.trial.private_folder import sweep
from reading_centre.use_cases.trial.staging import settle_all
from reading_centre.use_cases.uploads.ingest.job import UploadOutcome, request_of
from reading_centre.use_cases.uploads.manifest import ManifestRow, read_manifest

RESULT_COLUMNS: Final = (
    "line", "site", "visit", "outcome", "dry_run", "contrasts", "queries", "notes",
    "exit_code", "error", "reason", "next_step",
)  # fmt: skip
"""Columns of the CSV of results."""

_JOB = (sys.executable, "-I", "-m", "reading_centre.use_cases.uploads.ingest.job")

Report = Callable[[UploadOutcome], None]


@dataclass(frozen=True)
class BatchResult:
    """Outcomes of a batch.

    Parameters
    ----------
    outcomes : tuple of UploadOutcome
        In the order of the manifest.
    dry_run : bool
        True if nothing was stored.
    """

    outcomes: tuple[UploadOutcome, ...]
    dry_run: bool

    @property
    def exit_code(self) -> int:
        """4 if an upload failed; else 3 if one was refused; else 0."""
        found = {outcome.outcome for outcome in self.outcomes}
        if "failed" in found:
            return AnalysisError.exit_code
        return UploadRefusedError.exit_code if "refused" in found else 0

    def csv(self) -> str:
        """The results as CSV, one line for each upload. Lists are joined with " | ".

        Returns
        -------
        str
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, RESULT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for outcome in self.outcomes:
            row = outcome.model_dump()
            row |= {name: " | ".join(row[name]) for name in ("contrasts", "queries", "notes")}
            writer.writerow(row | {"dry_run": "yes" if self.dry_run else "no"})
        return text.getvalue()


def ingest_batch(
    folder: Path,
    manifest: Path,
    *,
    nprocs: int,
    report: Report,
    results: Path | None = None,
    dry_run: bool = False,
) -> BatchResult:
    """Ingest all uploads of a manifest. Uploads that were accepted before are skipped.

    Uploads of one subject are ingested one after another in the order of their lines.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    manifest : Path
        See `read_manifest`.
    nprocs : int
        Number of uploads at a time.
    report : callable
        Called with each outcome as it comes.
    results : Path, optional
        CSV file of the results.
    dry_run : bool, optional
        As in `reading_centre.use_cases.uploads.ingest.visit.receive_visit`. Uploads of the batch are not
        compared with each other.

    Returns
    -------
    BatchResult

    Raises
    ------
    UsageError, SettingsError
        If there is no trial, or the manifest is wrong. Nothing is ingested then.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    subjects: dict[tuple[str, str], list[ManifestRow]] = {}
    for row in read_manifest(manifest, protocol):
        subjects.setdefault((row.site, row.subject.upper()), []).append(row)
    outcomes: list[UploadOutcome] = []
    stop = threading.Event()

    def ingest(rows: Sequence[ManifestRow]) -> None:
        for row in rows:
            if stop.is_set():
                return
            outcome = _in_own_process(trial.root, row, dry_run=dry_run)
            outcomes.append(outcome)
            report(outcome)

    with ThreadPoolExecutor(nprocs) as pool:
        try:
            for done in as_completed([pool.submit(ingest, rows) for rows in subjects.values()]):
                done.result()
        finally:
            stop.set()  # after an interrupt, no further upload is started
    result = BatchResult(tuple(sorted(outcomes, key=lambda outcome: outcome.line)), dry_run)
    if results is not None:
        write_atomic(results, result.csv())
    if not dry_run:  # a process may have been killed
        sweep(trial.work)
        with Registry.open(trial, protocol) as registry:
            settle_all(trial, protocol, registry)
    return result


def _in_own_process(trial: Path, row: ManifestRow, *, dry_run: bool) -> UploadOutcome:
    """The outcome of one upload. The request goes through standard input: a command line is open to all accounts."""
    done = subprocess.run(
        _JOB,
        input=request_of(trial, row, dry_run=dry_run),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        check=False,
    )
    try:
        return UploadOutcome.model_validate_json(done.stdout)
    except ValidationError:
        return UploadOutcome(
            line=row.line,
            site=row.site,
            visit=row.visit,
            outcome="failed",
            exit_code=1,
            error="ProcessTerminated",
            reason="process terminated without output (killed, or out of memory)",
            next_step="repeat the command: uploads that are stored are skipped",
        )
