"""``mri-pipeline ingest``."""

from __future__ import annotations

from typing import Annotated

import typer

from reading_centre.console import (
    AsJson,
    BeforeInfusion,
    PatientChanged,
    Series,
    SiteCode,
    TrialFolder,
    Upload,
    emit,
    say,
    stated,
)


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
    before_infusion: BeforeInfusion = None,
    patient_changed: PatientChanged = "",
    series: Series = None,
    as_json: AsJson = False,
) -> None:
    """Ingest the DICOM of one visit: unpack, check, de-identify, convert."""
    from reading_centre.use_cases.ingest import receive_visit
    from reading_centre.use_cases.series_statement import read_statement

    result = receive_visit(
        trial,
        upload,
        site=site,
        subject=subject,
        visit=visit,
        replace_because=replace,
        before_infusion=stated(before_infusion),
        patient_changed=patient_changed,
        stated=read_statement(series or ()),
    )
    if as_json:
        emit(result.as_dict())
        return
    say(f"{result.subject} {visit}: {', '.join(result.contrasts)} accepted")
    for query in result.queries:
        say(f"  query: {query}")
    for note in result.notes:
        say(f"  {note}")
