"""Process of one upload of a batch: ``python -m reading_centre.use_cases.uploads.ingest.job``.

It reads a request (`request_of`) from standard input and writes its `UploadOutcome` to standard output, each as JSON.
Neither the command line of the process nor its answer identifies the patient.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ReadingCentreError, UploadRefusedError
from mri_pipeline.core.layout import Trial
from reading_centre.use_cases.uploads.ingest.visit import receive_visit
from reading_centre.use_cases.uploads.manifest import ManifestRow


class UploadOutcome(BaseModel):
    """Outcome of one upload of a batch. It holds neither the trial number nor the blinded code nor a path.

    Attributes
    ----------
    line : int
        Line of the manifest.
    site, visit : str
    outcome : str
        ``accepted``, ``stored`` (accepted before), ``refused`` or ``failed``. In a dry run: what it would be.
    contrasts, queries, notes : tuple of str
        As in `reading_centre.use_cases.uploads.ingest.visit.ReceivedVisit`.
    exit_code : int
        That of ``mri-pipeline ingest`` for this upload alone.
    error : str
        Class of the error (`mri_pipeline.core.errors`); empty without one.
    reason, next_step : str
        Its message and hint.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    line: int
    site: str
    visit: str
    outcome: str
    contrasts: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exit_code: int = 0
    error: str = ""
    reason: str = ""
    next_step: str = ""


def request_of(trial: Path, row: ManifestRow, *, dry_run: bool) -> str:
    """The request for one upload.

    Parameters
    ----------
    trial : Path
        Folder of the trial.
    row : ManifestRow
    dry_run : bool
        As in `receive_visit`.

    Returns
    -------
    str
        JSON.
    """
    return json.dumps({
        "trial": str(trial), "line": row.line, "site": row.site, "subject": row.subject, "visit": row.visit,
        "upload": str(row.upload), "before_infusion": row.before_infusion, "dry_run": dry_run,
    })  # fmt: skip


def ingest_one(request: dict[str, Any]) -> UploadOutcome:
    """Ingest an upload. No error is raised.

    Parameters
    ----------
    request : dict
        From `request_of`.

    Returns
    -------
    UploadOutcome
    """
    trial, site, subject, visit = Path(request["trial"]), request["site"], request["subject"], request["visit"]
    here = {"line": request["line"], "site": site, "visit": visit}
    try:
        received = receive_visit(
            trial,
            Path(request["upload"]),
            site=site,
            subject=subject,
            visit=visit,
            before_infusion=request["before_infusion"],
            dry_run=request["dry_run"],
        )
    except ReadingCentreError as error:
        return UploadOutcome(
            **here,
            outcome="refused" if isinstance(error, UploadRefusedError) else "failed",
            exit_code=error.exit_code,
            error=type(error).__name__,
            reason=_without_code(error.message, trial, site, subject),
            next_step=_without_code(error.hint, trial, site, subject),
        )
    except Exception as error:  # noqa: BLE001 - its text may contain a path of the upload
        kind = type(error).__name__
        hint = "ingest this upload alone to see the fault"
        return UploadOutcome(
            **here, outcome="failed", exit_code=1, error=kind, reason=f"unexpected {kind}", next_step=hint
        )
    return UploadOutcome(
        **here,
        outcome="stored" if received.known else "accepted",
        contrasts=received.contrasts,
        queries=received.queries,
        notes=received.notes,
    )


def _without_code(text: str, trial: Path, site: str, subject: str) -> str:
    """A message without the blinded code: beside the line of the manifest it would be a key."""
    with suppress(ReadingCentreError):
        return text.replace(Sealed.open(Trial.existing(trial)).preview(site, subject), "(code)")
    return text


def main() -> None:
    """Process one request. What a library prints does not reach the answer."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        answer.write(ingest_one(json.load(sys.stdin)).model_dump_json())


if __name__ == "__main__":
    main()
