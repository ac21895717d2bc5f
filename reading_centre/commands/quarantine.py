"""``mri-pipeline quarantine``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from reading_centre.command_options import (
    AsJson,
    BeforeInfusion,
    PatientChanged,
    Series,
    SiteCode,
    TrialFolder,
    stated,
)
from reading_centre.console import STDOUT, emit, say

if TYPE_CHECKING:  # pydicom and the registry are not needed for --help
    from reading_centre.use_cases.uploads.dummy_run.receive import ReceivedDummyRun
    from reading_centre.use_cases.uploads.ingest.visit import ReceivedVisit

app = typer.Typer(
    help="Refused uploads: list, show, try again, release, discard. Accepted scans: withdraw. Reasons must not contain "
    "patient data.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="Name of the entry, as listed.")]
Subject = Annotated[
    str, typer.Option("--subject", help="Trial number of the subject; it is not stored with the upload.")
]
Visit = Annotated[str, typer.Option("--visit", help="Label of the visit, if the entry does not state it.")]
Replace = Annotated[
    str,
    typer.Option("--replace", metavar="REASON", help="Replace the earlier scan of the visit, for this reason."),
]


@app.command("list", short_help="List refused uploads.")
def list_(
    trial: TrialFolder,
    everything: Annotated[bool, typer.Option("--all", help="Include settled entries.")] = False,
    as_json: AsJson = False,
) -> None:
    """List refused uploads with site, visit and reason."""
    from reading_centre.use_cases.uploads.quarantine import entry_record, list_quarantine

    entries = list_quarantine(trial, settled=everything)
    if as_json:
        emit([entry_record(entry) for entry in entries])
        return
    name = Column("entry", no_wrap=True, min_width=max((len(entry.name) for entry in entries), default=0))
    table = Table(name, "site", "kind", "visit", "reason", "outcome", title="Quarantine", title_justify="left")
    for entry in entries:
        table.add_row(entry.name, entry.site, entry.kind, entry.visit, entry.reason, entry.outcome)
    STDOUT.print(table)


@app.command("show", short_help="Show one refused upload.")
def show(trial: TrialFolder, entry: Entry, as_json: AsJson = False) -> None:
    """Show one refused upload with reason, next step and outcome."""
    from reading_centre.use_cases.uploads.quarantine import entry_record, show_quarantine

    record = entry_record(show_quarantine(trial, entry))
    if as_json:
        emit(record)
        return
    for name, value in record.items():
        say(f"{name.replace('_', ' ')}: {value}")


@app.command("retry", short_help="Try a refused upload again.")
def retry(
    trial: TrialFolder,
    entry: Entry,
    subject: Subject = "",
    visit: Visit = "",
    replace: Replace = "",
    before_infusion: BeforeInfusion = None,
    patient_changed: PatientChanged = "",
    series: Series = None,
    as_json: AsJson = False,
) -> None:
    """Try a refused upload again, for example after a change of trial.toml. The copy is deleted if it is accepted."""
    from reading_centre.use_cases.uploads.quarantine import retry_upload
    from reading_centre.use_cases.uploads.series_statement import read_statement

    result = retry_upload(
        trial,
        entry,
        subject=subject,
        visit=visit,
        replace_because=replace,
        before_infusion=stated(before_infusion),
        patient_changed=patient_changed,
        stated=read_statement(series or ()),
    )
    _report(result, as_json=as_json)


@app.command("release", short_help="Accept a refused upload, for a reason.")
def release(
    trial: TrialFolder,
    entry: Entry,
    reason: Annotated[str, typer.Option("--reason", help="Reason for the release, without patient data.")],
    by: Annotated[str, typer.Option("--by", help="Person who decides.")],
    subject: Subject = "",
    visit: Visit = "",
    replace: Replace = "",
    before_infusion: BeforeInfusion = None,
    patient_changed: PatientChanged = "",
    series: Series = None,
    clear_identity: Annotated[
        list[str] | None,
        typer.Option(
            "--clear-identity",
            metavar="TAG",
            help="Tag whose value does not identify the patient, such as 0018,1020; 4:0018,1020 for series 4 only.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Accept an upload that was refused by a limit of the protocol, or for a possible identifier in its headers.

    Unsafe or damaged files are never accepted.
    """
    from reading_centre.use_cases.uploads.quarantine import release_upload
    from reading_centre.use_cases.uploads.series_statement import read_statement

    result = release_upload(
        trial,
        entry,
        reason=reason,
        by=by,
        subject=subject,
        visit=visit,
        replace_because=replace,
        before_infusion=stated(before_infusion),
        patient_changed=patient_changed,
        stated=read_statement(series or ()),
        clear_identity=clear_identity or (),
    )
    _report(result, as_json=as_json)


@app.command("discard", short_help="Discard a refused upload, for a reason.")
def discard(
    trial: TrialFolder,
    entry: Entry,
    reason: Annotated[str, typer.Option("--reason", help="Why it is discarded, without patient data.")],
    by: Annotated[str, typer.Option("--by", help="Person who decides.")],
    as_json: AsJson = False,
) -> None:
    """Discard a refused upload that waits in quarantine: sent by mistake, superseded, withdrawn consent.

    The decision is audited, then the copy of the upload is deleted. The entry with its reason stays.
    """
    from reading_centre.use_cases.uploads.quarantine import discard_upload, entry_record

    done = discard_upload(trial, entry, reason=reason, by=by)
    if as_json:
        emit(entry_record(done))
        return
    say(
        f"{done.name}: discarded"
        if done.upload is None
        else f"{done.name}: discarded; its copy cannot be deleted yet"
    )


@app.command("withdraw", short_help="Withdraw an accepted scan, for a reason.")
def withdraw(
    trial: TrialFolder,
    site: SiteCode,
    subject: Annotated[str, typer.Option("--subject", help="Trial number of the subject.")],
    visit: Annotated[str, typer.Option("--visit", help="Label of the visit, such as wk04.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it is withdrawn, without patient data.")],
    by: Annotated[str, typer.Option("--by", help="Person who decides.")],
    as_json: AsJson = False,
) -> None:
    """Withdraw the accepted scan of a visit without a replacement: wrong patient, withdrawn consent.

    Scan and reads are moved to TRIAL/withdrawn/. A locked visit cannot be withdrawn.
    """
    from reading_centre.use_cases.uploads.withdraw import withdraw_scan

    done = withdraw_scan(trial, site=site, subject=subject, visit=visit, reason=reason, by=by)
    if as_json:
        emit(done.as_dict())
        return
    say(f"{done.subject} {done.visit}: scan and {done.reads} reads withdrawn; kept in {done.kept}")
    if done.remaining:
        say(f"  its results are outdated: mri-pipeline run TRIAL --subject {done.subject}")
    else:
        say("  it was the last scan: its results are kept there, too; delete work/")


def _report(result: ReceivedVisit | ReceivedDummyRun, *, as_json: bool) -> None:
    record = result.as_dict()
    if as_json:
        emit(record)
        return
    done = "stored already" if record.get("known") else "accepted"
    say(f"{record.get('subject') or record['site']} {record.get('visit') or 'dummy run'}: {done}")
    for query in result.queries:
        say(f"  query: {query}")
    for note in record.get("notes", ()):
        say(f"  {note}")
