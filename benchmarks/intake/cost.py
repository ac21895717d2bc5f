"""CPU time and memory of the ingest of one visit, by part.

    PYTHONPATH=. python benchmarks/intake/cost.py WORK [--repeat 3]

The visit is a simulated head with four 2D series of about 200 files, written into WORK at the first call. Each
repetition is an ingest in a process of its own. The script prints the CPU seconds of each part, child processes
included, each the least of the repetitions, their sum besides the conversion, and the peak memory of the largest
process.
"""

# ruff: noqa: PLC0415 - imports are a part that is measured

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STEPS = ("Unpack", "ReadHeaders", "Choose", "Deidentify", "Convert", "Verify", "Measure")
"""Interfaces of `workflows.interfaces.intake`."""

CONVERSION = "Convert"
IMPORTS = "imports"
REST = "workflow, locks, registry"


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Meter:
    """CPU seconds by part. Parts do not overlap."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure a block as a part."""
        before = cpu_s()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + cpu_s() - before

    def timed(self, owner: Any, attribute: str, name: str) -> None:
        """Measure each call of a function or method as a part."""
        function: Callable[..., Any] = getattr(owner, attribute)

        def call(*args: Any, **more: Any) -> Any:
            with self.part(name):
                return function(*args, **more)

        setattr(owner, attribute, call)


def write_upload(work: Path) -> None:
    """A visit as DICOM, and a trial with an open gate."""
    from mri_pipeline.phantom.scanner import SIEMENS_SKYRA, Dimension
    from mri_pipeline.phantom.session import write_session
    from mri_pipeline.phantom.subject import simulate_subject, simulate_visit
    from mri_pipeline.phantom.trial import made_up_patient, visit_study
    from tests.unit.ingest_trial import new_trial

    head = simulate_subject(1, ("wk00",))
    write_session(
        simulate_visit(head, "wk00", scanner=SIEMENS_SKYRA, dimension=Dimension.TWO_D),
        scanner=SIEMENS_SKYRA,
        patient=made_up_patient("0001", 1),
        study=visit_study("0001", "wk00", 1),
        out_dir=work / "writing",
    )
    new_trial(work / "trial")
    (work / "writing").rename(work / "upload")


def ingest_once(work: Path) -> None:
    """Ingest the visit, and print the parts as JSON."""
    from mri_pipeline.core.processes import collect_rarely

    collect_rarely()  # as the command does
    meter = Meter()
    with meter.part(IMPORTS):
        import workflows  # noqa: F401 - one thread, as for the command
        from reading_centre.use_cases.uploads import task, visit_intake
        from reading_centre.use_cases.uploads.ingest import visit as ingest
        from workflows.interfaces import intake
    for step in STEPS:
        meter.timed(getattr(intake, step), "_step", step)
    meter.timed(task, "measure_upload", "digest of the upload")
    meter.timed(ingest, "write_scans", "write")
    meter.timed(ingest, "make_durable", "write")
    meter.timed(visit_intake, "decide_visit", "decide")
    received = ingest.receive_visit(
        work / "copy", work / "upload", site="S01", subject="0001", visit="wk00", before_infusion=True
    )
    meter.parts[REST] = cpu_s() - sum(meter.parts.values())
    peak_kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"parts": meter.parts, "peak_mib": peak_kib / 1024, "contrasts": len(received.contrasts)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--step", choices=("write", "ingest"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = options.work.resolve()
    if options.step:
        {"write": write_upload, "ingest": ingest_once}[options.step](work)
        return
    command = [sys.executable, __file__, str(work), "--step"]
    if not (work / "upload").is_dir():  # in another process: a child inherits the peak memory of its parent
        subprocess.run([*command, "write"], check=True)
    runs = []
    for _ in range(options.repeat):
        shutil.rmtree(work / "copy", ignore_errors=True)
        shutil.copytree(work / "trial", work / "copy")
        done = subprocess.run([*command, "ingest"], check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    files = sum(1 for path in (work / "upload").rglob("*") if path.is_file())
    parts = {name: min(run["parts"].get(name, 0.0) for run in runs) for name in runs[0]["parts"]}
    conversion = parts.pop(CONVERSION)
    print(f"{files} files, {runs[0]['contrasts']} contrasts, best of {len(runs)}")
    for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"{seconds:7.2f} CPU s  {name}")
    print(f"{sum(parts.values()):7.2f} CPU s  all of these, without the conversion")
    print(f"{conversion:7.2f} CPU s  conversion (dcm2niix, every slice compared)")
    print(f"{min(run['peak_mib'] for run in runs):7.0f} MiB    peak memory")


if __name__ == "__main__":
    main()
