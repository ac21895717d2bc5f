"""``mri-pipeline dummy-run``."""

from __future__ import annotations

from reading_centre.console import (
    AsJson,
    SiteCode,
    TrialFolder,
    Upload,
    emit,
    say,
)


def dummy_run(trial: TrialFolder, upload: Upload, site: SiteCode, as_json: AsJson = False) -> None:
    """Check the dummy run of a site, write the acceptance report and record whether the site may enrol."""
    from reading_centre.use_cases.dummy_run import receive_dummy_run

    result = receive_dummy_run(trial, upload, site=site)
    if as_json:
        emit(result.as_dict())
        return
    say(f"site {site}: dummy run {result.verdict}")
    for query in result.queries:
        say(f"  query: {query}")
    say(f"report: {result.report}")
