"""SIGKILL at random moments of ``mri-pipeline ingest``, of a first scan and of ``--replace``.

    PYTHONPATH=. python benchmarks/intake/kills.py WORK [--kills 100] [--seed 0]

Odd kills meet the first ingest of a visit, even kills a replacement of a scan that was read. Each starts the command,
waits until it has its lock, its staged folder or its first converted image (in turn), waits for a random further time,
and kills the process with SIGKILL. The longest time is 1.1 times what the command still takes, measured first. A second
command then settles what is left. The script checks that

- the voxels on disk are those whose keyed digests the registry has, for every visit and no other (`agree`),
- the scan is the earlier one with its read, or the new one with the earlier one and its read in ``withdrawn/``,
- no private folder, no staged scan and no other file that identifies the patient is left,

and prints what was found. It exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.registry import ReadCounts
from tests.unit.ingest_trial import COMMAND, Held, agree, identified, ingest, new_trial, opened, upload

SIGNS = ("lock", "stage", "image")
"""Signs of the command after which it is killed."""


def prepare(work: Path) -> dict[str, Trial]:
    """A trial without scans and one with a scan that was read, and their uploads."""
    upload(work / "first"), upload(work / "second", seed=1)
    (work / "nothing.zip").write_bytes(b"no archive")
    empty = new_trial(work / "empty")
    shutil.copytree(work / "empty", work / "read")
    read = Trial.existing(work / "read")
    code = ingest(read, work / "first").subject
    with opened(read) as registry:
        registry.record_analyses(code, {"wk00": (ScanStatus.ANALYSED, "")})
        registry.record_reads({(code, "wk00"): ReadCounts()}, reader="R1", status=ReadStatus.CONFIRMED)
    (read.reads / code / "wk00").mkdir(parents=True)
    (read.reads / code / "wk00" / "read.json").write_text("{}")
    return {"empty": empty, "read": read}


def signs(trial: Trial) -> dict[str, Callable[[], bool]]:
    """How far a command has come."""
    known = {path.name for path in trial.staging.glob("*")}
    return {
        "lock": lambda: any(path.name not in known or path.suffix == ".lock" for path in trial.staging.glob("*")),
        "stage": lambda: any(path.name not in known for path in trial.staging.glob("*_*")),
        "image": lambda: any(trial.staging.glob("*_*/rawdata/sub-*/ses-*/anat/*.nii.gz")),
    }


def remaining_s(trial: Trial, sent: Path) -> dict[str, float]:
    """How long the command takes from each sign to its end, once."""
    seen = signs(trial)
    process = start(trial, sent, replace=False)
    times = {}
    while process.poll() is None:
        times |= {sign: time.monotonic() for sign in SIGNS if sign not in times and seen[sign]()}
        time.sleep(0.002)
    return {sign: time.monotonic() - at for sign, at in times.items()}


def start(trial: Trial, sent: Path, *, replace: bool) -> subprocess.Popen[bytes]:
    arguments = ["--site", "S01", "--subject", "0001", "--visit", "wk00", "--before-infusion", "yes"]
    if replace:
        arguments += ["--replace", "wrong images"]
    command = [*COMMAND, "ingest", str(trial.root), str(sent), *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(trial: Trial, sent: Path, sign: str, delay_s: float, *, replace: bool) -> bool:
    """Start the command and kill it; False if it ended before."""
    seen = signs(trial)[sign]
    process = start(trial, sent, replace=replace)
    while process.poll() is None and not seen():
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def outcome(trial: Trial, before: list[Held]) -> str:
    """What is found after the next command, or a fault."""
    with contextlib.suppress(UploadRefusedError):
        ingest(trial, trial.root.parent / "nothing.zip", site="S02")  # the site has no dummy run
    staged = [path for path in trial.staging.glob("*") if path.suffix != ".lock"]
    if staged or list(trial.work.glob("intake-*")) or identified(trial):
        return "FAULT: something is left"
    try:
        held = agree(trial)
    except AssertionError:
        return "FAULT: registry and rawdata differ"
    if held == before:
        return "unchanged"
    if not before:
        return "new scan"
    kept = trial.withdrawn / held[0].subject / "wk00" / held[0].receipt
    whole = len(list((kept / "anat").glob("*.nii.gz"))) == 4 and (kept / "reads" / "read.json").exists()
    with opened(trial) as registry:
        reads = [withdrawn["reads"] for withdrawn in registry.withdrawn()]
    if not whole or [len(read) for read in reads] != [1] or held[0].readers:
        return "FAULT: the earlier scan or its read is not whole"
    return "replaced"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = options.work.resolve()
    trials = prepare(work)
    drawn = random.Random(options.seed)
    shutil.copytree(trials["empty"].root, work / "trial")
    longest_s = remaining_s(Trial.existing(work / "trial"), work / "second")
    shutil.rmtree(work / "trial")
    print(longest_s, flush=True)
    states: Counter[str] = Counter()
    leftovers = 0
    for number in range(options.kills):
        name = ("empty", "read")[number % 2]
        shutil.copytree(trials[name].root, work / "trial")
        trial = Trial.existing(work / "trial")
        before = agree(trial)
        sign = SIGNS[number // 2 % len(SIGNS)]
        delay_s = drawn.uniform(0.0, 1.1 * longest_s[sign])
        killed = kill(trial, work / "second", sign, delay_s, replace=name == "read")
        leftovers += any(path.is_file() for path in trial.work.glob("intake-*/*/**/*"))
        word = f"{name}: {'killed' if killed else 'ended'}, {outcome(trial, before)}"
        states[word] += 1
        print(f"{number + 1}/{options.kills} {sign} + {delay_s:.2f} s: {word}", flush=True)
        shutil.rmtree(trial.root)
    print(f"\n{leftovers} kills left identified files, which the next command removed")
    for word, count in sorted(states.items()):
        print(f"{count:4d}  {word}")
    sys.exit(any("FAULT" in word for word in states))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
