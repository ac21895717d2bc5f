"""``mri-pipeline dummy-run``."""

from __future__ import annotations

from reading_centre.console import (
    AsJson,
    Series,
    SiteCode,
    TrialFolder,
    Upload,
    emit,
    say,
)


def dummy_run(
    trial: TrialFolder, upload: Upload, site: SiteCode, series: Series = None, as_json: AsJson = False
) -> None:
    """Check the dummy run of a site, write the acceptance report and record whether the site may enrol."""
    from reading_centre.use_cases.dummy_run import receive_dummy_run
    from reading_centre.use_cases.series_statement import read_statement

    result = receive_dummy_run(trial, upload, site=site, stated=read_statement(series or ()))
    if as_json:
        emit(result.as_dict())
        return
    say(f"site {site}: dummy run {result.verdict}")
    for query in result.queries:
        say(f"  query: {query}")
    say(f"report: {result.report}")
