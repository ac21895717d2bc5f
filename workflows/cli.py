"""The command line: ``mri-pipeline``. One boundary turns errors into one line, a next step and an exit code.

Commands import what they need when they are called, so that ``--help`` stays quick.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from mri_pipeline import __version__
from mri_pipeline.errors import AnalysisError, ReadingCentreError, UsageError
from workflows.batch import BatchOutcome
from workflows.engine import Plugin
from workflows.engine import Progress as ProgressCallback

app = typer.Typer(
    name="mri-pipeline",
    help="A central MRI reading centre for multiple-sclerosis trials: DICOM in, blinded lesion tables out.",
    epilog="Exit codes: 0 done, 1 unexpected fault, 2 wrong use or settings, 3 an upload was refused, "
    "4 some subjects failed and the others are done.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_NOT_WRITABLE = {
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG,
}  # fmt: skip
_STDOUT = Console(highlight=False)
_STDERR = Console(stderr=True, highlight=False)

TrialFolder = Annotated[Path, typer.Argument(metavar="TRIAL", help="Folder of the trial.")]
Upload = Annotated[Path, typer.Argument(metavar="UPLOAD", help="DICOM as a folder, zip or tar.")]
SiteCode = Annotated[str, typer.Option("--site", help="Code of the site, as in trial.toml.")]
Processes = Annotated[int, typer.Option("--nprocs", min=1, help="Processes that may run at once.")]
PluginName = Annotated[Plugin, typer.Option("--plugin", help="Nipype plugin.")]
SegmenterFile = Annotated[
    Path | None,
    typer.Option("--segmenter", help="TOML naming another program for the T2 lesions (docs/segmenters.md)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")]


class Level(StrEnum):
    """Analysis level of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


def main() -> None:
    """Run the command line and leave with the exit code of the contract."""
    sys.exit(invoke())


def invoke(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own) and return the exit code."""
    try:
        app(args=arguments)
    except ReadingCentreError as error:
        _STDERR.print(f"error: {error.message}", soft_wrap=True, markup=False)
        if error.hint:
            _STDERR.print(f"next:  {error.hint}", soft_wrap=True, markup=False)
        return error.exit_code
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        _STDERR.print(f"error: expected a folder that can be written, found: {error.strerror}", markup=False)
        _STDERR.print(f"next:  look at {error.filename}", soft_wrap=True, markup=False)
        return UsageError.exit_code
    except SystemExit as leave:  # typer prints what was wrong with the options, and leaves with 2
        return leave.code if isinstance(leave.code, int) else 0
    return 0


def _say(text: str) -> None:
    _STDOUT.print(text, soft_wrap=True, markup=False)


def _emit(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


@contextmanager
def _progress_bar(title: str) -> Iterator[ProgressCallback | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not _STDERR.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_STDERR, transient=True) as bar:
        task = bar.add_task(title, total=None)
        seen: set[str] = set()

        def advance(node: str, status: str) -> None:
            seen.add(node)
            bar.update(task, total=len(seen))
            if status in {"end", "exception"}:
                bar.advance(task)

        yield advance


def _version(value: bool) -> None:
    if value:
        print(f"mri-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    trial: TrialFolder,
    protocol: Annotated[str, typer.Option("--protocol", help="Protocol to start from.")] = "mesems",
) -> None:
    """Lay out a trial folder with its protocol."""
    from workflows.trial import init_trial

    created = init_trial(trial, protocol)
    _say(f"trial folder ready; edit {created.protocol_file} (sites, visits, limits) before the first upload")


@app.command("dummy-run")
def dummy_run(trial: TrialFolder, upload: Upload, site: SiteCode, as_json: AsJson = False) -> None:
    """Check a site's dummy run, write the acceptance report and set the site's gate."""
    from workflows.uploads import receive_dummy_run

    result = receive_dummy_run(trial, upload, site=site)
    if as_json:
        _emit(result.as_dict())
        return
    _say(f"site {site}: dummy run {result.verdict}")
    for query in result.queries:
        _say(f"  query: {query}")
    _say(f"report: {result.report}")


@app.command()
def ingest(
    trial: TrialFolder,
    upload: Upload,
    site: SiteCode,
    subject: Annotated[
        str, typer.Option("--subject", help="Trial number of the subject; it is not stored openly.")
    ],
    visit: Annotated[str, typer.Option("--visit", help="Visit label, such as wk04.")],
    replace: Annotated[
        str, typer.Option("--replace", metavar="REASON", help="Replace the visit's earlier scan, and say why.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take one visit's DICOM through the gate: unpack, check, de-identify, convert."""
    from workflows.uploads import receive_visit

    result = receive_visit(trial, upload, site=site, subject=subject, visit=visit, replace_because=replace)
    if as_json:
        _emit(result.as_dict())
        return
    _say(f"{result.subject} {visit}: {', '.join(result.contrasts)} accepted")
    for query in result.queries:
        _say(f"  query: {query}")


@app.command()
def run(
    trial: TrialFolder,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Blinded code; may be given again. Default: all.")
    ] = None,
    nprocs: Processes = 1,
    plugin: PluginName = Plugin.MULTIPROC,
    as_json: AsJson = False,
) -> None:
    """Analyse all that is ready; resumes, and one subject's failure leaves the others running."""
    from workflows.analysis import run_trial

    with _progress_bar("subjects") as progress:
        outcome = run_trial(trial, subjects=tuple(subject or ()), nprocs=nprocs, plugin=plugin, progress=progress)
    _report_batch(outcome, as_json=as_json)


def _report_batch(outcome: BatchOutcome, *, as_json: bool) -> None:
    if as_json:
        _emit([o.model_dump() for o in outcome.outcomes])
    else:
        for o in outcome.outcomes:
            _say(f"sub-{o.subject}: " + (f"done ({o.cpu_seconds:.0f} CPU s)" if o.done else f"FAILED: {o.reason}"))
            for visit, reason in o.failed_visits.items():
                _say(f"  {visit} FAILED: {reason}")
            for words in o.concerns:
                _say(f"  look at {words}")
        done = [o for o in outcome.outcomes if o.done]
        partly = sum(bool(o.failed_visits) for o in done)
        _say(
            f"{len(done)} of {len(outcome.outcomes)} subjects done"
            + (f", {partly} without some visits" * bool(partly))
        )
    if outcome.failed:
        raise typer.Exit(AnalysisError.exit_code)


@app.command()
def read(
    trial: TrialFolder,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write a blinded worklist to this folder.")
    ] = None,
    take: Annotated[Path | None, typer.Option("--import", help="Take decisions back from this folder.")] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Who read; needed with --import and --lock.")
    ] = None,
    lock: Annotated[
        bool, typer.Option("--lock", help="Lock all confirmed reads; they cannot change then.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Readers confirm or correct what the machine proposes: --export, --import, --lock."""
    from workflows import readers

    chosen = [name for name, on in (("--export", export), ("--import", take), ("--lock", lock)) if on]
    if len(chosen) != 1:
        raise UsageError(
            f"expected one of --export DIR, --import DIR and --lock, found {' and '.join(chosen) or 'none'}",
            hint="the readers' page in the browser comes with a later version",
        )
    if export is not None:
        summary = readers.export_reads(trial, export)
    else:
        if not reader:
            raise UsageError("expected --reader with --import and --lock, found none")
        summary = (
            readers.import_reads(trial, take, reader=reader) if take else readers.lock_reads(trial, reader=reader)
        )
    if as_json:
        _emit(summary)
    else:
        _say(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()))


@app.command()
def tables(
    trial: TrialFolder,
    provisional: Annotated[
        bool, typer.Option("--provisional", help="From all reads and automatic results, each row saying which.")
    ] = False,
    release: Annotated[
        Path | None,
        typer.Option("--release", help="Lift the blinding: tables with trial numbers, to here."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed with --release.")] = "",
    nprocs: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Write the blinded tables; without --provisional from locked reads alone."""
    from workflows.finalise import release_trial_tables, write_trial_tables

    if release is not None:
        _say_paths(release_trial_tables(trial, reason=reason, out=release), as_json=as_json)
        return
    written = write_trial_tables(trial, provisional=provisional, nprocs=nprocs)
    _say_paths(written.files, as_json=as_json)
    for code, error in written.refused.items():
        _STDERR.print(
            f"sub-{code} FAILED, its rows have no numbers: {error.message}", soft_wrap=True, markup=False
        )
        _STDERR.print(f"next:  {error.hint}", soft_wrap=True, markup=False)
    if written.refused:
        raise typer.Exit(AnalysisError.exit_code)


def _say_paths(paths: Iterable[Path], *, as_json: bool) -> None:
    if as_json:
        _emit([str(path) for path in paths])
    else:
        for path in paths:
            _say(str(path))


@app.command()
def status(trial: TrialFolder, as_json: AsJson = False) -> None:
    """Show sites, subjects and visits at a glance."""
    from workflows.status import trial_status

    state = trial_status(trial)
    if as_json:
        _emit(state.as_dict())
        return
    sites = Table("site", "dummy run", "subjects", title="Sites", title_justify="left")
    for site in state.sites:
        sites.add_row(site.code, site.gate, str(site.subjects))
    subjects = Table(Column("subject", no_wrap=True), "site", *state.visits, title="Visits", title_justify="left")
    for row in state.subjects:
        subjects.add_row(row.code, row.site, *(row.visits[v] for v in state.visits))
    _STDOUT.print(sites)
    _STDOUT.print(subjects)
    for code, concerns in state.concerns.items():
        for words in concerns:
            _say(f"look at sub-{code} {words}")
    _say(f"audit trail: {state.audit_entries} entries, intact; last {state.audit_hash[:12]}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to put it; must be empty.")] = Path(
        "demo"
    ),
    nprocs: Processes = 2,
) -> None:
    """Run everything on the digital reference trial and show the tables beside the known truth."""
    from workflows.demo import run_demo

    run_demo(folder, nprocs=nprocs, say=_say, table=_STDOUT.print)


@app.command()
def bids(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="A BIDS dataset with anatomical scans.")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The derivative dataset to write.")],
    level: Annotated[Level, typer.Argument(help="participant: analyse; group: make the tables.")],
    participant_label: Annotated[
        list[str] | None, typer.Option("--participant-label", help="Without 'sub-'; may be given again.")
    ] = None,
    nprocs: Processes = 1,
    plugin: PluginName = Plugin.MULTIPROC,
    work_dir: Annotated[Path | None, typer.Option("--work-dir", help="Cache. Default: OUT_DIR/work.")] = None,
    segmenter: SegmenterFile = None,
    as_json: AsJson = False,
) -> None:
    """Analyse a BIDS dataset (BIDS App): no registry, no readers; sessions in the order of their labels."""
    from mri_pipeline.protocol import load_segmenter
    from workflows import bids_app

    labels = tuple(participant_label or ())
    if level is Level.GROUP:
        _say_paths(bids_app.write_group_tables(bids_dir, out_dir, labels=labels), as_json=as_json)
        return
    with _progress_bar("subjects") as progress:
        outcome = bids_app.run_participants(
            bids_dir,
            out_dir,
            labels=labels,
            nprocs=nprocs,
            plugin=plugin,
            work_dir=work_dir,
            segmenter=load_segmenter(segmenter) if segmenter else None,
            progress=progress,
        )
    _report_batch(outcome, as_json=as_json)


@app.command()
def segment(
    flair: Annotated[Path, typer.Option("--flair", help="FLAIR; the masks come on its grid.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks and lesions.csv.")],
    t1: Annotated[Path | None, typer.Option("--t1", help="T1 before contrast.")] = None,
    t1_gd: Annotated[Path | None, typer.Option("--t1-gd", help="T1 after gadolinium.")] = None,
    t2: Annotated[Path | None, typer.Option("--t2", help="T2.")] = None,
    brain_mask: Annotated[Path | None, typer.Option("--brain-mask", help="On the FLAIR's grid.")] = None,
    segmenter: SegmenterFile = None,
    as_json: AsJson = False,
) -> None:
    """Segment one visit: T2 lesions, enhancing lesions and black holes on the FLAIR's own grid."""
    from mri_pipeline.protocol import load_segmenter
    from workflows.segment import segment_files

    summary = segment_files(
        flair=flair,
        t1=t1,
        t1_gd=t1_gd,
        t2=t2,
        brain_mask=brain_mask,
        out=out,
        segmenter=load_segmenter(segmenter) if segmenter else None,
    )
    if as_json:
        _emit(summary)
    else:
        _say(", ".join(f"{name}: {'-' if value is None else value}" for name, value in summary.items()))


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option("--out", help="Folder for evaluation.html and the CSV files.")],
    predicted: Annotated[Path | None, typer.Option("--predicted", help="Folder of predicted masks.")] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Folder of reference masks with the same file names.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="CSV instead of the folders: case, predicted, reference[, tuned_on]."),
    ] = None,
    data: Annotated[str, typer.Option("--data", help="Name of the data, for the page.")] = "Data not named",
    as_json: AsJson = False,
) -> None:
    """Score predicted against reference lesion masks: Dice, volume, lesions found by size; a page and CSV files.

    The names of the files, or the cases of the CSV, stand in the page and the tables: let them be codes, not names.
    """
    from workflows import evaluate as evaluation

    if pairs is not None and predicted is None and reference is None:
        if pairs.name in evaluation.TABLES and pairs.absolute().parent == out.absolute():
            raise UsageError(f"expected another folder for --out: {pairs.name} there would be written over")
        chosen = evaluation.pairs_of_csv(pairs)
    elif pairs is None and predicted is not None and reference is not None:
        chosen = evaluation.pairs_of_folders(predicted, reference)
    else:
        raise UsageError("expected either --predicted and --reference, or --pairs, found something else")
    summary = evaluation.evaluate(chosen, out, data=data)
    if as_json:
        _emit(summary)
    else:
        _say(", ".join(f"{name}: {'-' if value is None else value}" for name, value in summary.items()))
