"""Kills of `run` at random moments: the next run ends with the bytes of an undisturbed one, and no process is left.

    python -m benchmarks.run_kills TRIAL --kills 20 [--nprocs 2] [--seed 1]

TRIAL has been analysed; its results are the reference. It is copied. Before each kill the copy has no results, and a
random part of the cache of the runs before.

Measured on 2026-12-01 with one subject of three visits whose reads are locked, `--nprocs 2 --longest 60 --seed 5`, on a
busy machine: 22 runs, of which 19 were killed (parent 7, job 3, worker 6, group 3; 3 had ended before). Each next run
ended with the bytes of an undisturbed one, and no process was left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("parent", "job", "worker", "group")


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of all results and reports of a trial, without the pages that name the time of their run."""
    folders = (root / "derivatives", root / "reports")
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tree(pid: int) -> list[tuple[int, str]]:
    """Processes below a process with their command lines."""
    found = []
    for child in _children(pid):
        found += [(child, _command(child)), *tree(child)]
    return found


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start(root: Path, nprocs: int, subjects: list[str]) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own."""
    command = [sys.executable, "-m", "reading_centre", "run", str(root), "--nprocs", str(nprocs), "--keep-work"]
    command += [word for subject in subjects for word in ("--subject", subject)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(run: subprocess.Popen[bytes], target: str, sent: signal.Signals, chance: random.Random) -> str:
    """Send a signal; returns what it was sent to."""
    below = tree(run.pid)
    jobs = [pid for pid, command in below if "workflows.job" in command]
    workers = [pid for pid in jobs if any(pid in _children(job) for job in jobs)]
    chosen = {"job": sorted(set(jobs) - set(workers)), "worker": workers}.get(target)
    if target == "group":
        os.killpg(run.pid, sent)
    elif target == "parent" or not chosen:
        target = "parent"
        run.send_signal(sent)
    else:
        os.kill(chance.choice(chosen), sent)
    return target


def main() -> int:
    """Kill, resume and compare; the exit code is the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--subject", action="append", default=[], help="blinded code; default: all")
    parser.add_argument("--longest", type=float, default=60.0, help="latest moment of a kill in seconds")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, faults, done = random.Random(options.seed), 0, Counter[str]()
    expected = digests(options.trial)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "trial"
        shutil.copytree(options.trial, root, ignore=shutil.ignore_patterns("work"))  # it names the old folder
        for number in range(options.kills):
            for name in ("derivatives/mri_pipeline", "reports"):
                for path in (root / name).glob("*sub-*"):
                    if options.subject and not any(subject in path.name for subject in options.subject):
                        continue
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for cache in root.glob("work/v*/sub-*/subject_wf/*"):
                if cache.is_dir() and chance.random() < 0.3:
                    shutil.rmtree(cache)
            run, moment = start(root, options.nprocs, options.subject), chance.uniform(0, options.longest)
            time.sleep(moment)
            below = [pid for pid, _ in tree(run.pid)]
            target, sent = chance.choice(TARGETS), chance.choice(SIGNALS)
            hit = kill(run, target, sent, chance) if run.poll() is None else "nothing: it had ended"
            run.wait()
            time.sleep(3)
            left = [pid for pid in below if _alive(pid)]
            code = start(root, options.nprocs, options.subject).wait()
            found = digests(root)
            wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
            fault = bool(left or code or wrong)
            faults += fault
            done[hit] += 1
            words = f"{len(left)} processes left, exit code {code}, {len(wrong)} files differ {wrong[:3]}"
            print(
                f"{number}: {sent.name} to {hit} at {moment:.1f} s: {words if fault else 'as undisturbed'}",
                flush=True,
            )
    print(f"{options.kills} kills ({dict(done)}), {faults} faults")
    return faults


if __name__ == "__main__":
    sys.exit(main())
