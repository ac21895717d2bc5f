"""``mri-pipeline qc``."""

from __future__ import annotations

from rich.table import Column, Table

from reading_centre.command_options import AsJson, TrialFolder
from reading_centre.console import STDOUT, emit, say


def qc(trial: TrialFolder, as_json: AsJson = False) -> None:
    """Show image quality over sites, scanners and time, with gates, outliers and drifts; write reports/qc.html."""
    from reading_centre.use_cases.office.quality import quality_overview

    overview = quality_overview(trial)
    if as_json:
        emit(overview.as_dict())
        return
    numbers = ("uploads", "refused", "outliers", "drifts")
    right = [Column(name, justify="right") for name in (*numbers, "open queries")]
    table = Table(
        "site", "scanner", Column("gate", no_wrap=True), *right, title="Image quality", title_justify="left"
    )
    for line in overview.scanners:
        counts = (str(getattr(line, name)) for name in (*numbers, "open_queries"))
        table.add_row(line.site, line.scanner, line.gate, *counts)
    STDOUT.print(table)
    say(f"page: {overview.page}")
