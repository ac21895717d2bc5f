"""``mri-pipeline status``."""

from __future__ import annotations

from rich.table import Column, Table

from reading_centre.command_options import AsJson, TrialFolder
from reading_centre.console import STDOUT, emit, say


def status(trial: TrialFolder, as_json: AsJson = False) -> None:
    """Show an overview of sites, subjects and visits."""
    from reading_centre.use_cases.office.status import trial_status

    state = trial_status(trial)
    if as_json:
        emit(state.as_dict())
        return
    sites = Table("site", "dummy run", "subjects", title="Sites", title_justify="left")
    for site in state.sites:
        sites.add_row(site.code, site.gate, str(site.subjects))
    visits = (Column(visit, overflow="fold") for visit in state.visits)
    subjects = Table(Column("subject", no_wrap=True), "site", *visits, title="Visits", title_justify="left")
    for row in state.subjects:
        subjects.add_row(row.code, row.site, *(row.visits[v] for v in state.visits))
    STDOUT.print(sites)
    STDOUT.print(subjects)
    for code, qc_flags in state.qc_flags.items():
        for message in qc_flags:
            say(f"visual QC required: sub-{code} {message}")
    say(f"queries: {state.open_queries} open, {state.answered_queries} answered")
    say(f"audit trail: {state.audit_entries} entries, intact; last {state.audit_hash[:12]}")
