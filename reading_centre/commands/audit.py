"""``mri-pipeline audit``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import UsageError
from reading_centre.command_options import AsJson, TrialFolder
from reading_centre.console import emit, say

app = typer.Typer(
    help="The audit trail: show, verify, export, anchor.", no_args_is_help=True, rich_markup_mode=None
)

Subject = Annotated[str, typer.Option("--subject", help="Only entries on this blinded code or site.")]
Actor = Annotated[str, typer.Option("--actor", help="Only entries of this reader or account.")]
Action = Annotated[
    str, typer.Option("--action", help="Only entries of this action, as shown, such as 'read locked'.")
]
Since = Annotated[
    str, typer.Option("--since", help="Entries from this time (UTC) on: a date, or 2026-03-01T09:30.")
]
Until = Annotated[str, typer.Option("--until", help="Entries up to this time (UTC): a date, or 2026-03-31T09:30.")]


@app.command("show", short_help="Show entries.")
def show(
    trial: TrialFolder,
    subject: Subject = "",
    actor: Actor = "",
    action: Action = "",
    since: Since = "",
    until: Until = "",
    as_json: AsJson = False,
) -> None:
    """Show entries of the audit trail, oldest first."""
    from reading_centre.use_cases.trial.audit import AuditSelection, selected_entries

    found = selected_entries(trial, AuditSelection(subject, actor, action, since, until))
    if as_json:
        emit([asdict(entry) for entry in found])
        return
    for entry in found:
        actor = f"{entry.os_user}/{entry.reader}" if entry.reader else entry.os_user
        say(f"{entry.seq}  {entry.at}  {actor}  {entry.action}  {entry.target}".rstrip())
        if entry.details:
            say(f"    {json.dumps(entry.details, ensure_ascii=False, sort_keys=True)}")


@app.command("verify", short_help="Compare the trial with its audit trail.")
def verify(
    trial: TrialFolder,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", help="File of 'audit anchor'; the trail must contain its entry.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the chain of the audit trail, and compare registry, reads, key and tables with it."""
    from reading_centre.use_cases.trial.audit_verify import verify_trial

    found = verify_trial(trial, anchor)
    if as_json:
        emit(asdict(found))
    else:
        for deviation in found.deviations:
            say(deviation)
    if found.deviations:
        count = len(found.deviations)
        raise UsageError(
            f"expected a trial as in its audit trail, found {count} deviation{'s' if count > 1 else ''}",
            hint="restore the named files from their backup and report the deviation",
        )
    if not as_json:
        say(f"audit trail: {found.entries} entries, intact; last {found.last}")


@app.command("export", short_help="Write entries as CSV or JSON.")
def export(
    trial: TrialFolder,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Ends with .csv or .json.")],
    subject: Subject = "",
    actor: Actor = "",
    action: Action = "",
    since: Since = "",
    until: Until = "",
) -> None:
    """Write entries of the audit trail as CSV or JSON."""
    from reading_centre.use_cases.trial.audit import AuditSelection, export_audit

    count = export_audit(trial, out, AuditSelection(subject, actor, action, since, until))
    say(f"{out}: {count} entries")


@app.command("anchor", short_help="Write the head of the trail to a file outside of the trial.")
def anchor(trial: TrialFolder, out: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")]) -> None:
    """Write number and hash of the last entry to a file outside of the trial, for 'audit verify --anchor'."""
    from reading_centre.use_cases.trial.audit import anchor_audit

    count, last = anchor_audit(trial, out)
    say(f"{out}: entry {count}, {last}")
