"""``mri-pipeline export-dicom``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reading_centre.command_options import AsJson, TrialFolder, require_writable
from reading_centre.console import emit, say, say_stderr

if TYPE_CHECKING:
    from reading_centre.use_cases.tables.export_dicom import DicomExport


def export_dicom(
    trial: TrialFolder,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Blinded code; may be repeated. Default: all.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="New folder, or that of an earlier export, which is replaced. Default: TRIAL/dicom.",
            callback=require_writable,
        ),
    ] = None,
    provisional: Annotated[
        bool,
        typer.Option(
            "--provisional", help="Export all reads and automatic results; each object states its source."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write locked lesions as DICOM segmentations and reports on the grid of the FLAIR.

    If one subject cannot be exported, nothing is written.
    """
    from reading_centre.use_cases.tables.export_dicom import export_dicom as export

    done = export(trial, to=to, subjects=tuple(subject or ()), provisional=provisional)
    if as_json:
        emit(_as_json(done))
        return
    for visit in done.visits:
        volumes = (
            f"{kind} {float(table) / 1e3:.3f} mL in the tables, {float(own) / 1e3:.3f} mL on the FLAIR"
            for kind, (table, own) in visit.volumes().items()
        )
        say(f"sub-{visit.subject} {visit.visit} ({visit.status}): {'; '.join(volumes) or 'no lesion'}")
    for visit in done.visits:
        for lesion in visit.without_segment:
            say_stderr(
                f"Note: sub-{lesion.subject} {lesion.visit}: {lesion.kind} {lesion.lesion_id} has no voxel on the "
                "FLAIR and no segment; the report has its volume"
            )
    say(
        f"{done.folder}: {sum(len(visit.files) for visit in done.visits)} DICOM objects of {len(done.visits)} visits"
    )


def _as_json(done: DicomExport) -> dict[str, object]:
    return {
        "folder": str(done.folder),
        "provisional": done.provisional,
        "visits": [
            asdict(visit)
            | {
                "lesions": [
                    asdict(lesion)
                    | {"segment_mm3": float(lesion.segment_mm3), "table_mm3": float(lesion.table_mm3)}
                    for lesion in visit.lesions
                ]
            }
            for visit in done.visits
        ],
    }
