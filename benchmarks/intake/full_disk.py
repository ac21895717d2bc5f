"""A trial on a disk that is too small: ``mri-pipeline ingest`` of a first scan and of ``--replace``.

    PYTHONPATH=. python benchmarks/intake/full_disk.py WORK [--step 40] [--sizes 14]

The trial lies on a tmpfs (mounted by root) of its own size and ``step`` kB more for each run. After each run the disk
gets room, and what is left is settled. The script checks that the exit code is 0 or 2, that no refusal is recorded, and
that the voxels on disk are those that the registry knows (`agree`). It exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from reading_centre.use_cases.trial.staging import settle_all
from tests.unit.ingest_trial import COMMAND, agree, ingest, new_trial, opened, upload


def size_kb(folder: Path) -> int:
    return int(subprocess.run(["du", "-sk", folder], capture_output=True, text=True, check=True).stdout.split()[0])


def run(source: Path, sent: Path, disk: Path, room_kb: int, *more: str) -> str:
    """Ingest on a disk with `room_kb` kB of room; the outcome, or a fault."""
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb(source) + room_kb}k", "tmpfs", disk], check=True)
    try:
        shutil.copytree(source, disk / "trial")
        trial = Trial(disk / "trial")
        before = agree(trial)
        arguments = ["--site", "S01", "--subject", "0001", "--visit", "wk00", *more]
        command = [*COMMAND, "ingest", str(trial.root), str(sent), *arguments]
        code = subprocess.run(command, capture_output=True, check=False).returncode
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        with opened(trial) as registry:
            settle_all(trial, load_protocol(trial.protocol_file), registry)
            refused = [entry for entry in registry.audit_trail() if entry.action == "upload refused"]
        changed = "unchanged" if agree(trial) == before else "accepted"
        fault = code not in {0, 2} or refused or (code == 0 and changed == "unchanged")
        return f"{'FAULT: ' if fault else ''}exit code {code}, {changed}"
    finally:
        subprocess.run(["umount", disk], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--step", type=int, default=40)
    parser.add_argument("--sizes", type=int, default=14)
    options = parser.parse_args()
    work = options.work.resolve()
    upload(work / "first"), upload(work / "second", seed=1)
    new_trial(work / "empty")
    shutil.copytree(work / "empty", work / "read")
    ingest(Trial(work / "read"), work / "first")
    outcomes = []
    for name, more in (("empty", ()), ("read", ("--replace", "wrong images"))):
        for number in range(1, options.sizes + 1):
            room_kb = options.step * number
            outcomes.append(run(work / name, work / "second", work / "disk", room_kb, *more))
            print(f"{name}, {room_kb} kB of room: {outcomes[-1]}", flush=True)
    sys.exit(any("FAULT" in outcome for outcome in outcomes))


if __name__ == "__main__":
    main()
