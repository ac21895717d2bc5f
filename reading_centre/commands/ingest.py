"""``mri-pipeline ingest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.processes import collect_rarely
from reading_centre.command_options import (
    AsJson,
    BeforeInfusion,
    PatientChanged,
    Series,
    TrialFolder,
    require_writable,
    stated,
)
from reading_centre.console import emit, say

if TYPE_CHECKING:  # pydantic is not needed for --help
    from reading_centre.use_cases.uploads.ingest.job import UploadOutcome
    from reading_centre.use_cases.uploads.ingest.visit import ReceivedVisit


def _results_file(path: Path | None) -> Path | None:
    if path is not None:
        require_writable(path.parent)
        if path.is_dir():
            raise UsageError("--results: expected the name of a file, found a folder", hint="name a CSV file")
    return path


def ingest(
    trial: TrialFolder,
    upload: Annotated[
        Path | None, typer.Argument(metavar="UPLOAD", help="DICOM as a folder, zip or tar.", show_default=False)
    ] = None,
    site: Annotated[str, typer.Option("--site", help="Code of the site, as in trial.toml.")] = "",
    subject: Annotated[
        str,
        typer.Option(
            "--subject", help="Trial number of the subject. Only the sealed folder links it to the code."
        ),
    ] = "",
    visit: Annotated[str, typer.Option("--visit", help="Label of the visit, such as wk04.")] = "",
    replace: Annotated[
        str,
        typer.Option(
            "--replace", metavar="REASON", help="Replace the earlier scan of the visit, for this reason."
        ),
    ] = "",
    before_infusion: BeforeInfusion = None,
    patient_changed: PatientChanged = "",
    series: Series = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            help="Ingest a batch instead of one upload: a CSV file with the columns site, subject, visit, upload, "
            "before_infusion. Uploads that are stored already are skipped.",
        ),
    ] = None,
    nprocs: Annotated[int, typer.Option("--nprocs", min=1, help="Uploads of the manifest at a time.")] = 1,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="CSV file for the results of the manifest.", callback=_results_file),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be accepted, refused or queried; store nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ingest the DICOM of one visit, or of a batch of visits: unpack, check, de-identify, convert.

    One visit: UPLOAD, --site, --subject and --visit. A batch: --manifest. The exit code of a batch is 0 if all uploads
    are stored, 3 if some are refused, and 4 if some failed.
    """
    collect_rarely()
    one: dict[str, Any] = {"UPLOAD": upload, "--site": site, "--subject": subject, "--visit": visit}
    if manifest is not None:
        one |= {"--replace": replace, "--before-infusion": before_infusion}
        _require_none(one | {"--patient-changed": patient_changed, "--series": series})
        if results is not None and results.resolve() == manifest.resolve():
            raise UsageError("--results: expected a new file, found the manifest", hint="name another file")
        _ingest_batch(trial, manifest, nprocs=nprocs, results=results, dry_run=dry_run, as_json=as_json)
        return
    missing = [name for name, value in one.items() if not value]
    if missing or upload is None or results is not None:
        raise UsageError(
            "expected UPLOAD, --site, --subject and --visit for one visit, or --manifest for a batch, found "
            + (f"no {', no '.join(missing)}" if missing else "--results without --manifest"),
            hint="mri-pipeline ingest --help",
        )
    from reading_centre.use_cases.uploads.ingest.visit import receive_visit
    from reading_centre.use_cases.uploads.series_statement import read_statement

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
        dry_run=dry_run,
    )
    if as_json:
        emit({**result.as_dict(), "dry_run": dry_run})
    else:
        _say(result, dry_run=dry_run, replace=bool(replace))


def _require_none(options: dict[str, Any]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise UsageError(
            f"expected the uploads in the manifest alone, found {', '.join(given)} beside --manifest",
            hint="ingest that upload alone, without --manifest",
        )


def _say(result: ReceivedVisit, *, dry_run: bool, replace: bool) -> None:
    done = "stored already" if result.known else "would be accepted" if dry_run else "accepted"
    if result.known and replace:
        done += "; nothing is replaced: this upload is the accepted scan"
    say(f"{result.subject} {result.visit}: {', '.join(result.contrasts)} {done}")
    for query in result.queries:
        say(f"  query: {query}")
    for note in result.notes:
        say(f"  {note}")


def _ingest_batch(
    trial: Path, manifest: Path, *, nprocs: int, results: Path | None, dry_run: bool, as_json: bool
) -> None:
    from reading_centre.use_cases.uploads.ingest.batch import ingest_batch

    def report(outcome: UploadOutcome) -> None:
        if not as_json:
            say(_line(outcome, dry_run=dry_run))

    result = ingest_batch(trial, manifest, nprocs=nprocs, report=report, results=results, dry_run=dry_run)
    if as_json:
        emit([outcome.model_dump() for outcome in result.outcomes])
    else:
        count = {name: sum(o.outcome == name for o in result.outcomes) for name in _WORDS}
        found = ", ".join(f"{n} {_WORDS[name][dry_run]}" for name, n in count.items() if n)
        say(f"{len(result.outcomes)} uploads: {found}")
    if result.exit_code:
        raise typer.Exit(result.exit_code)


_WORDS = {
    "accepted": ("accepted", "would be accepted"),
    "stored": ("stored already", "stored already"),
    "refused": ("refused", "would be refused"),
    "failed": ("failed", "would fail"),
}


def _line(outcome: UploadOutcome, *, dry_run: bool) -> str:
    """One line of an upload. It names neither the subject nor the upload."""
    text = f"line {outcome.line}: {outcome.site} {outcome.visit} {_WORDS[outcome.outcome][dry_run]}"
    if outcome.reason:
        return f"{text}: {outcome.reason}"
    queries = len(outcome.queries)
    found = f", {queries} {'query' if queries == 1 else 'queries'}" if queries else ""
    return f"{text}: {', '.join(outcome.contrasts)}{found}"
