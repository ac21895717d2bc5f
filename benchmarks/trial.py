"""A whole trial from DICOM to locked tables: CPU seconds a visit, wall time, memory and disk of each step.

    python -m benchmarks.trial WORK [--subjects 10] [--heads 4] [--nprocs 2] [--of 144]

The trial has 2D scans of one scanner. Each subject has its own lesions and their course over the visits; `--heads`
different heads are used in turn. Each upload is made, ingested and deleted, one at a time. All subjects are then
analysed by ``mri-pipeline run``. A worklist is exported, every proposed lesion is accepted, and the reads are imported
and locked. ``mri-pipeline tables`` writes the tables. The times of simulating the uploads are not counted. The last
line extrapolates to `--of` subjects in proportion to the number of visits.

Measured on 2026-12-01, two subjects with seven visits, one process, on two cores without other work: 27 CPU s a visit
(ingest 8.3, run 16.1, reads 1.4, tables 1.1); a visit had 14.1 MiB of rawdata, 27.4 of sourcedata, 30.7 of derivatives
and 8.7 of reads. Goals: 12 CPU s and 20 MB of derivatives. Since then, with registered images of 16 bits and without
work done twice, a visit has 16.1 MiB of derivatives, and the analysis of two visits takes 29.8 instead of 35.8 CPU s
(old and new code in turn, twice each, with a load of 8 to 12 by other work, which inflates CPU time). With medians
of one selected rank, and masks near or within others by erosion, two visits take 45.9 instead of 50.0 CPU s (mean of
six runs each, in turn, with a load of 4 to 7; least 41.3 and 46.1), and the peak memory is 0.90 instead of 0.92 GiB.
All derivatives have the same bytes but for the digests of source code and rules. Ingest and reads are measured on one
thread, as the commands run; before, they had a thread for each core, which costs more CPU time.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import workflows  # noqa: F401 - one thread, as for the commands: before numpy

# isort: split

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.phantom.dummy import write_dummy_run
from mri_pipeline.phantom.histories import random_histories
from mri_pipeline.phantom.scanner import SIEMENS_SKYRA, Dimension
from mri_pipeline.phantom.session import write_session
from mri_pipeline.phantom.subject import simulate_subject, simulate_visit
from mri_pipeline.phantom.trial import made_up_patient, visit_study
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads
from reading_centre.use_cases.trial.init import init_trial
from reading_centre.use_cases.uploads.dummy_run.receive import receive_dummy_run
from reading_centre.use_cases.uploads.ingest.visit import receive_visit

SITE, SEED, READER = "S01", 1, "R1"
VOLUNTEER = 900
ANSWERS = {"decision": "accept", "done": "yes"}
"""Of the reader, by column of the worklist."""


@dataclass
class Cost:
    """What a step has cost.

    Parameters
    ----------
    cpu_s, wall_s : float
        Processor time with that of ended child processes, and time.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add the cost of the block."""
        cpu, wall = _cpu_s(), time.monotonic()
        try:
            yield
        finally:
            self.cpu_s += _cpu_s() - cpu
            self.wall_s += time.monotonic() - wall


@dataclass
class Costs:
    """Costs of all steps."""

    ingest: Cost = field(default_factory=Cost)
    run: Cost = field(default_factory=Cost)
    reads: Cost = field(default_factory=Cost)
    tables: Cost = field(default_factory=Cost)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def take_in(trial: Trial, protocol: Protocol, work: Path, *, subjects: int, heads: int, cost: Cost) -> int:
    """Make, ingest and delete the upload of every visit; returns the number of visits."""
    labels, folder = tuple(visit.label for visit in protocol.visits), work / "upload"
    volunteer = simulate_subject(VOLUNTEER, ("dummy",), plans=())
    write_dummy_run(volunteer, folder, scanner=SIEMENS_SKYRA, dimension=Dimension.TWO_D, seed=SEED)
    with cost.measured():
        receive_dummy_run(trial.root, folder, site=SITE)
    for number in range(1, subjects + 1):
        name = f"{SITE}-{number:03d}"
        plans = random_histories(number, len(labels))
        subject = simulate_subject(number % heads, labels, plans=plans)
        for label in labels:
            shutil.rmtree(folder, ignore_errors=True)
            scan = simulate_visit(subject, label, scanner=SIEMENS_SKYRA, dimension=Dimension.TWO_D)
            study = visit_study(name, label, SEED)
            write_session(
                scan, scanner=SIEMENS_SKYRA, patient=made_up_patient(name, SEED), study=study, out_dir=folder
            )
            with cost.measured():
                receive_visit(trial.root, folder, site=SITE, subject=name, visit=label, before_infusion=True)
        print(f"{number} of {subjects} subjects ingested", flush=True)
    shutil.rmtree(folder)
    return subjects * len(labels)


def command(*arguments: str) -> str:
    """Run a command of the package; returns its standard output. A visit that failed does not end the benchmark."""
    done = subprocess.run(
        [sys.executable, "-m", "reading_centre", *arguments], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in (0, AnalysisError.exit_code):
        raise SystemExit(f"{arguments[0]}: exit code {done.returncode}")
    return done.stdout


def read_all(trial: Trial, worklist: Path) -> None:
    """Accept every proposed lesion of every visit, and lock the reads."""
    export_reads(trial.root, worklist, reader=READER)
    for file in worklist.rglob("*.csv"):
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row.update({name: word for name, word in ANSWERS.items() if name in row})
        if rows:
            with file.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    import_reads(trial.root, worklist, reader=READER)
    lock_reads(trial.root, reader=READER)


def size_mib(folder: Path) -> float:
    """Size of all files of a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="new folder")
    parser.add_argument("--protocol", default="mesems")
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--of", type=int, default=144)
    chosen = parser.parse_args()
    trial, costs = init_trial(chosen.work / "trial", chosen.protocol), Costs()
    protocol = load_protocol(trial.protocol_file)
    visits = take_in(trial, protocol, chosen.work, subjects=chosen.subjects, heads=chosen.heads, cost=costs.ingest)
    with costs.run.measured():
        outcomes = json.loads(command("run", str(trial.root), "--nprocs", str(chosen.nprocs), "--json"))
    with costs.reads.measured():
        read_all(trial, chosen.work / "worklist")
    with costs.tables.measured():
        command("tables", str(trial.root), "--nprocs", str(chosen.nprocs))
    scale = chosen.of * len(protocol.visits) / visits
    total = Cost()
    for name, cost in vars(costs).items():
        total = Cost(total.cpu_s + cost.cpu_s, total.wall_s + cost.wall_s)
        print(f"{name}: {cost.cpu_s / visits:.1f} CPU s and {cost.wall_s / visits:.1f} s a visit")
    print(f"{visits} visits: {total.cpu_s:.0f} CPU s, {total.wall_s:.0f} s")
    print(f"peak memory of a subject: {max(one['peak_memory_gib'] for one in outcomes):.2f} GiB")
    folders = {
        "rawdata": trial.rawdata.root, "sourcedata": trial.sourcedata.root, "derivatives": trial.derivatives.root,
        "reads": trial.reads, "reports": trial.reports, "work": trial.work, "tables": trial.tables,
    }  # fmt: skip
    for name, folder in folders.items():
        print(f"{name}: {size_mib(folder) / visits:.1f} MiB a visit")
    print(
        f"extrapolated to {chosen.of} subjects: {total.cpu_s * scale / 3600:.1f} CPU h, "
        f"{total.wall_s * scale / 3600:.1f} h, {size_mib(trial.root) * scale / 1024:.0f} GiB"
    )


if __name__ == "__main__":
    main()
