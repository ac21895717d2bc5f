"""``mri-pipeline ingest``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from reading_centre.console import (
    AsJson,
    SiteCode,
    TrialFolder,
    Upload,
    emit,
    say,
)


class Answer(StrEnum):
    """A statement of the site."""

    YES = "yes"
    NO = "no"


def ingest(
    trial: TrialFolder,
    upload: Upload,
    site: SiteCode,
    subject: Annotated[
        str, typer.Option("--subject", help="Trial number of the subject; it is not stored openly.")
    ],
    visit: Annotated[str, typer.Option("--visit", help="Label of the visit, such as wk04.")],
    replace: Annotated[
        str,
        typer.Option(
            "--replace", metavar="REASON", help="Replace the earlier scan of the visit, for this reason."
        ),
    ] = "",
    before_infusion: Annotated[
        Answer | None,
        typer.Option(
            "--before-infusion", help="Statement of the site: did the scan come before the infusion of that visit?"
        ),
    ] = None,
    patient_changed: Annotated[
        str,
        typer.Option(
            "--patient-changed",
            metavar="REASON",
            help="Accept another name, number or birth date of the same patient, for this reason.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ingest the DICOM of one visit: unpack, check, de-identify, convert."""
    from reading_centre.use_cases.ingest import receive_visit

    result = receive_visit(
        trial,
        upload,
        site=site,
        subject=subject,
        visit=visit,
        replace_because=replace,
        before_infusion=None if before_infusion is None else before_infusion is Answer.YES,
        patient_changed=patient_changed,
    )
    if as_json:
        emit(result.as_dict())
        return
    say(f"{result.subject} {visit}: {', '.join(result.contrasts)} accepted")
    for query in result.queries:
        say(f"  query: {query}")
    for note in result.notes:
        say(f"  {note}")
