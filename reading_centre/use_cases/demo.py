"""All steps on the digital reference trial, with a comparison of the tables with the known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from rich.table import Table

from mri_pipeline.core.errors import AnalysisError, UploadRefusedError
from mri_pipeline.core.layout import Trial
from mri_pipeline.phantom.trial import ReferenceTrial, Upload, UploadKind, write_reference_trial
from mri_pipeline.tables.io import read_table
from qc.reports.index import INDEX_PAGE
from reading_centre.use_cases.analysis.run import run_trial
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.init import init_trial, require_empty
from reading_centre.use_cases.uploads.dummy_run.receive import receive_dummy_run
from reading_centre.use_cases.uploads.ingest.visit import receive_visit
from workflows.executors import Execution

COMPARED = (
    "gel_count", "gel_new_count", "gel_re_enhancing_count", "gel_persistent_count", "gel_volume_ml",
    "t2_count", "t2_volume_ml", "new_t2_count", "enlarging_t2_count", "bh_count", "bh_volume_ml",
    "combined_unique_active_count",
)  # fmt: skip
"""Columns of lesion_timepoints.csv that are shown beside the truth."""

Say = Callable[[str], None]


def run_demo(folder: Path, *, nprocs: int, say: Say, table: Callable[[Table], None]) -> None:
    """Write the reference trial as DICOM, ingest it, analyse it, and compare the result with the truth.

    Parameters
    ----------
    folder : Path
        New or empty folder for ``source`` (uploads and truth) and ``trial``.
    nprocs : int
        Number of subjects analysed in parallel.
    say, table : callable
        Functions that print a line and a table.

    Raises
    ------
    UsageError
        If the folder is not empty.
    AnalysisError
        If an upload was accepted that must be refused, or if a subject failed.
    """
    require_empty(folder, what="the demo", hint="name another: mri-pipeline demo DIR")
    demo = simulate(folder, say=say)
    analyse(demo, nprocs=nprocs, say=say)
    say("5/5  measured / truth; one number if both are equal")
    measured = read_table(demo.trial.tables / "lesion_timepoints.csv")
    for compared in beside_truth(measured, demo.true_timepoints()):
        table(compared)
    say(f"tables:  {demo.trial.tables}")
    say(f"reports: {demo.trial.reports / INDEX_PAGE}")


@dataclass(frozen=True)
class ReferenceRun:
    """The digital reference trial in a reading centre.

    Parameters
    ----------
    source : ReferenceTrial
        Uploads and truth.
    trial : Trial
    codes : mapping of str to str
        Blinded code by trial number.
    """

    source: ReferenceTrial
    trial: Trial
    codes: Mapping[str, str]

    def true_timepoints(self) -> list[dict[str, str]]:
        """What a perfect reader would report.

        Returns
        -------
        list of dict
            Rows of lesion_timepoints.csv as text, with the blinded codes.
        """
        rows = read_table(self.source.truth / "lesion_timepoints.csv")
        return [row | {"subject": self.codes[row["subject"]]} for row in rows]


def simulate(folder: Path, *, say: Say) -> ReferenceRun:
    """Write the reference trial as DICOM and ingest it into a new trial.

    Parameters
    ----------
    folder : Path
        New or empty folder for ``source`` (uploads and truth) and ``trial``.
    say : callable
        Prints a line.

    Returns
    -------
    ReferenceRun

    Raises
    ------
    UploadRefusedError, AnalysisError
        As `take_in`.
    """
    say("1/5  simulating the digital reference trial as DICOM, with known lesions")
    source = write_reference_trial(folder / "source", progress=lambda line: say(f"       {line}"))
    say("2/5  creating the trial and ingesting the uploads")
    trial = init_trial(folder / "trial", source.protocol)
    return ReferenceRun(source, trial, take_in(source, trial.root, say=say))


def analyse(run: ReferenceRun, *, nprocs: int, say: Say) -> None:
    """Analyse all subjects of the reference trial and write its provisional tables.

    Parameters
    ----------
    run : ReferenceRun
    nprocs : int
        Number of subjects analysed in parallel.
    say : callable
        Prints a line.

    Raises
    ------
    AnalysisError
        If a subject failed.
    """
    say("3/5  analysing: brain, registration, lesions, tracking, reports")
    outcome = run_trial(run.trial.root, execution=Execution(nprocs=nprocs))
    for subject in outcome.outcomes:
        say(
            f"       {subject.subject}: {'done' if subject.done else subject.reason}"
            f" ({subject.cpu_seconds:.0f} CPU s)"
        )
    if outcome.failed:
        raise AnalysisError(f"expected every subject analysed, found {len(outcome.failed)} that failed")
    say("4/5  writing the tables")
    write_trial_tables(run.trial.root, provisional=True)


def take_in(source: ReferenceTrial, trial: Path, *, say: Say) -> dict[str, str]:
    """Ingest all uploads in their order.

    Parameters
    ----------
    source : ReferenceTrial
    trial : Path
        Folder of the trial.
    say : callable
        Prints a line.

    Returns
    -------
    dict of str to str
        Blinded code by trial number.

    Raises
    ------
    UploadRefusedError
        If an upload is refused that must be accepted.
    AnalysisError
        If an upload is accepted that must be refused.
    """
    codes: dict[str, str] = {}
    for upload in source.uploads:
        try:
            word = _receive(source, upload, trial, codes)
        except UploadRefusedError as error:
            if upload.accepted:
                raise
            say(
                f"       {upload.site} {upload.kind.value.replace('_', ' ')}: refused, as expected: {error.message}"
            )
            continue
        if not upload.accepted:
            raise AnalysisError(
                f"expected {upload.site}'s upload to be refused ({upload.reason}), found it accepted"
            )
        say(f"       {word}")
    return codes


def _receive(source: ReferenceTrial, upload: Upload, trial: Path, codes: dict[str, str]) -> str:
    path = source.path(upload)
    if upload.kind is UploadKind.DUMMY_RUN:
        return f"{upload.site} dummy run: {receive_dummy_run(trial, path, site=upload.site).verdict}"
    visit = receive_visit(
        trial, path, site=upload.site, subject=upload.subject, visit=upload.visit, before_infusion=True
    )
    codes[upload.subject] = visit.subject
    return f"{visit.subject} {visit.visit}: {', '.join(visit.contrasts)}"


def beside_truth(measured: list[dict[str, str]], truth: list[dict[str, str]]) -> list[Table]:
    """Tables of measured / true values of each subject, with a column for each visit. Equal counts are shown once.

    Parameters
    ----------
    measured, truth : list of dict
        Rows of lesion_timepoints.csv as text (`read_table`), with the same blinded codes; those of a subject together.

    Returns
    -------
    list of rich.table.Table
        Volumes in mL.
    """
    known: Mapping[tuple[str, str], dict[str, str]] = {(row["subject"], row["visit"]): row for row in truth}
    tables = []
    for subject, visits in groupby(measured, key=itemgetter("subject")):
        rows = list(visits)
        table = Table(subject, *(row["visit"] for row in rows))
        table.add_row("scan", *(row["scan_status"] for row in rows))
        for name in COMPARED:
            cells = (_beside(row[name], known[subject, row["visit"]][name]) for row in rows)
            table.add_row(name.replace("_count", "").replace("_", " "), *cells)
        tables.append(table)
    return tables


def _beside(measured: str, truth: str) -> str:
    if not measured and not truth:
        return ""
    if "." in measured or "." in truth:
        values = [f"{float(v):.2f}" if v else "-" for v in (measured, truth)]
        return " / ".join(values)
    return measured if measured == truth else f"{measured or '-'} / {truth or '-'}"
