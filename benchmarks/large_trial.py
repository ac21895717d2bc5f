"""Time and memory of the commands that go over a whole trial, for 10,000 subjects with seven visits each.

    python -m benchmarks.large_trial WORK [--subjects 10000] [--lesions 4] [--database-url URL] [--repeat 2]

The rows of the registry are inserted in bulk: each visit has a received and analysed scan with images, keys and quality
measures, and the audit trail has the entries of each. Each subject has a result with lesions, a provenance and a
report. Its scans are small files. After a change of the code the trial must be written again: results of other code are
not current. For each command the script prints wall and CPU seconds, the peak memory and the digest of the output.

Measured 2026-12-01 on two cores with a load of ten, in CPU seconds, which are then up to twice those of a free
machine. 300 subjects, before and after the change of that day: tables 6.5 and 3.3, run without work 9.2 and 2.1, with
the same bytes of all tables. 1,000 subjects on PostgreSQL: first run 18.2, run without work 3.0 (249 MiB), tables 6.8
(268 MiB), status 2.4 (143 MiB). 10,000 subjects on SQLite: run without work 12.0 (323 MiB), tables 54 (377 MiB), first
status 9.2 (219 MiB). Of that run, the state of 350,000 files takes 5.8 and the state of the registry 1; the hashes of
220,000 entries of the audit trail take 3 (extrapolated from 6,600) and imports 1.5. The tables take about 5 ms for the
28 lesions and 190 rows of a subject. The first run after a change of the code compares all files, which takes about
17 ms a subject here; real scans take the time of their SHA-256 in addition.

The figures are those of the commit before QC flags of unchanged subjects were read from their results (0.2 ms a
subject more). A script entered the 10,000 subjects as checked, and did not compare them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from mri_pipeline.analysis import publication
from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.derivative_layout import subject_report
from mri_pipeline.core.io.results import result_text
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import (
    BlackHoleState,
    GelState,
    LesionRecord,
    RegistrationRecord,
    SubjectResult,
    T2State,
    VisitCounts,
    VisitQuality,
)
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Registry, ScanState
from mri_pipeline.registry.audit import AuditAction, AuditEntry, entry_hash, os_user, utc_now
from mri_pipeline.registry.database import open_engine, writing
from mri_pipeline.registry.quality_rows import MeasuresRow, measures_facts
from mri_pipeline.registry.schema import AuditRow, ImageRow, KeyRow, ScanRow, SubjectRow
from mri_pipeline.registry.trail import values_of
from qc.reports.subject.digest import report_digest
from reading_centre.use_cases.analysis.checked import SETTLED_S
from reading_centre.use_cases.analysis.subject_jobs import make_job
from reading_centre.use_cases.trial.init import init_trial

SITE = "S01"
CONTRASTS = (Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD, Contrast.T2W)
MEASURES = ("snr", "cnr", "cjv", "efc", "fber", "inu", "fwhm_mm", "ghosting", "motion", "coverage")
RESULTS = 50
"""Different results; the subjects have them in turn."""


def digest(*parts: object) -> str:
    """A digest that stands for an upload, an image or a key."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def write_trial(folder: Path, *, subjects: int, lesions: int, database_url: str = "") -> Trial:
    """Write a trial whose subjects are received and analysed at every planned visit."""
    trial = init_trial(folder)
    if database_url:
        text = trial.protocol_file.read_text(encoding="utf-8")
        trial.protocol_file.write_text(f"database_url = {json.dumps(database_url)}\n{text}", encoding="utf-8")
        trial.registry_file.unlink()
        shutil.rmtree(trial.sealed)
    protocol = load_protocol(trial.protocol_file)
    codes = [f"B{number:07d}" for number in range(subjects)]
    with Registry.open(trial, protocol) as registry:
        registry.record_dummy_run(SITE, accepted=True, upload_digest="made")
    if database_url:
        from mri_pipeline.blinding.key import Sealed  # noqa: PLC0415

        Sealed.create(trial)
    insert_rows(trial, protocol, codes)
    with Registry.open(trial, protocol) as registry:
        states = registry.state().subjects
    made = [_result(random.Random(seed), protocol, lesions) for seed in range(RESULTS)]
    for number, state in enumerate(states):
        for visit in protocol.visits:
            for contrast in CONTRASTS:
                scan = trial.rawdata.image(state.code, visit.label, contrast)
                scan.parent.mkdir(parents=True, exist_ok=True)
                scan.write_bytes(b"scan")
        keys = {visit.visit: visit.scan_key for visit in state.visits}
        result = replace(
            made[number % RESULTS],
            subject=state.code,
            scan_keys=keys,
            rules_digest=settings_digest(protocol.lesions),
        )
        _write_results(trial, protocol, state, result)
    return trial


def _write_results(trial: Trial, protocol: Protocol, state: Any, result: SubjectResult) -> None:
    """Write result, outcome, report and provenance, as an analysis leaves them."""
    job, derivatives = make_job(trial, protocol, state), trial.derivatives
    folder = derivatives.folder(state.code)
    folder.mkdir(parents=True)
    derivatives.result(state.code).write_text(result_text(result), encoding="utf-8")
    for name, text in job.beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    shown = report_digest(job, result, "")
    subject_report(trial.reports, state.code).write_text(
        f'<meta name="shown" content="{shown}">', encoding="utf-8"
    )
    started = publication._provenance(job)  # noqa: SLF001
    outputs = publication.output_digests(derivatives, state.code)
    derivatives.provenance(state.code).write_text(
        started.model_copy(update={"outputs": outputs}).model_dump_json(indent=1) + "\n", encoding="utf-8"
    )


def insert_rows(trial: Trial, protocol: Protocol, codes: list[str]) -> None:
    """Insert the rows of all subjects with their audit trail."""
    engine = open_engine(protocol.database_url, trial.registry_file)
    labels = [visit.label for visit in protocol.visits]
    try:
        for first in range(0, len(codes), 500):
            some = codes[first : first + 500]
            with writing(engine) as session:
                session.execute(insert(SubjectRow), [{"code": code, "site": SITE} for code in some])
                visits = [(code, label) for code in some for label in labels]
                session.execute(insert(ScanRow), [_scan(*visit) for visit in visits])
                session.execute(
                    insert(ImageRow),
                    [
                        {"subject": s, "visit": v, "contrast": c.value, "pixels_key": digest(s, v, c)}
                        for s, v in visits
                        for c in CONTRASTS
                    ],
                )
                session.execute(
                    insert(KeyRow),
                    [
                        {
                            "subject": s,
                            "visit": v,
                            "kind": kind,
                            "key": digest(s, kind, v if kind == "study" else ""),
                        }
                        for s, v in visits
                        for kind in ("number", "name", "birth", "study")
                    ],
                )
                measures = [_measures(*visit) for visit in visits]
                session.execute(insert(MeasuresRow), measures)
                last = session.query(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).first()
                assert last is not None
                session.execute(insert(AuditRow), list(_chained(_events(some, labels, measures), *last)))
    finally:
        engine.dispose()


def _scan(subject: str, visit: str) -> dict[str, Any]:
    return {
        "subject": subject,
        "visit": visit,
        "status": ScanState.ANALYSED.value,
        "upload_digest": digest("upload", subject, visit),
        "scanner": None,
        "profile": {
            c.value: {"RepetitionTime": 9.0, "EchoTime": 0.12, "spacing": [0.9, 0.9, 3.0]} for c in CONTRASTS
        },
        "findings": ["FLAIR: 2 slices below the brain are missing"] if digest(subject, visit)[0] == "0" else [],
        "receipt": digest("receipt", subject, visit)[:32],
        "shifted_day": 730000,
        "before_infusion": None,
    }


def _measures(subject: str, visit: str) -> dict[str, Any]:
    chance = random.Random(f"{subject} {visit}")
    return {
        "site": SITE, "scanner": None, "subject": subject, "visit": visit, "accepted": True, "at": utc_now(),
        "upload_digest": digest("upload", subject, visit),
        "values": {c.value: {name: chance.gauss(1, 0.1) for name in MEASURES} for c in CONTRASTS},
    }  # fmt: skip


def _events(
    codes: Any, labels: list[str], measures: list[dict[str, Any]]
) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    of_visit = {(row["subject"], row["visit"]): row for row in measures}
    for code in codes:
        yield AuditAction.SUBJECT_ENTERED, code, {"site": SITE}
        for label in labels:
            images = {c.value: digest(code, label, c) for c in CONTRASTS}
            received = {"upload": digest("upload", code, label), "findings": [], "images": images}
            yield AuditAction.SCAN_RECEIVED, f"{code} {label}", received
            facts = measures_facts(values_of(MeasuresRow(**of_visit[code, label])))
            yield AuditAction.MEASURES_STORED, f"{code} {label}", facts
        for label in labels:
            yield AuditAction.SCAN_ANALYSED, f"{code} {label}", {}


def _chained(
    events: Iterator[tuple[Any, str, dict[str, Any]]], seq: int, previous: str
) -> Iterator[dict[str, Any]]:
    for action, target, details in events:
        seq += 1
        entry = AuditEntry(seq, utc_now(), os_user(), "", str(action), target, details, previous)
        previous = entry_hash(entry)
        yield asdict(replace(entry, hash=previous))


def _result(chance: random.Random, protocol: Protocol, lesions: int) -> SubjectResult:
    """A result with about `lesions` lesions at each visit."""
    visits, found, quality, before = [], [], [], None
    count = chance.randint(max(0, lesions - lesions // 2), lesions + lesions // 2)
    for visit in protocol.visits:
        own = [_lesion(chance, visit.label, number, before) for number in range(1, count + 1)]
        found += own
        volume = sum(lesion.volume_mm3 for lesion in own) / 1000
        gel = sum(bool(lesion.enhancing) for lesion in own)
        new = None if before is None else 0
        visits.append(
            VisitCounts(
                visit.label, before, gel, None if before is None else gel, 0 if before else None, 0 if before else None,
                0.05 * gel, count, volume, new, new, new, 1, 0.1, 0.1, new, 0.01, 0.2, new, new, new,
            )
        )  # fmt: skip
        registered = tuple(
            RegistrationRecord(contrast, visit.label, chance.random(), "rigid", failed=False)
            for contrast in CONTRASTS
        )
        quality.append(
            VisitQuality(visit.label, "", skull_stripped=False, brain_covered=1.0, registrations=registered)
        )
        before = visit.label
    return SubjectResult("", tuple(visits), tuple(found), quality=tuple(quality))


def _lesion(chance: random.Random, visit: str, number: int, before: str | None) -> LesionRecord:
    enhancing = before is not None and number == 1 and chance.random() < 0.3
    return LesionRecord(
        visit, number, chance.uniform(20, 800), *(chance.uniform(-60, 60) for _ in range(3)),
        chance.choice(list(Location)), enhancing, GelState.NEW if enhancing else None,
        T2State.STABLE if before else T2State.BASELINE, BlackHoleState.NONE,
        gel_count=int(enhancing), gel_states=(GelState.NEW,) if enhancing else (), gel_volume_mm3=50.0 * enhancing,
        bh_count=0, bh_volume_mm3=0.0, new_since_first=False if before else None,
    )  # fmt: skip


def measured(arguments: list[str]) -> str:
    """Run a command of the package; returns its time, peak memory and the digest of its output."""
    started, read_end = time.monotonic(), None
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write_end, 1)
        os.close(read_end)
        os.execv(sys.executable, [sys.executable, "-m", "reading_centre", *arguments])
    os.close(write_end)
    content = hashlib.sha256()
    with os.fdopen(read_end, "rb") as stream:
        while block := stream.read(1 << 20):
            content.update(block)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - started
    cpu = usage.ru_utime + usage.ru_stime
    return (
        f"{' '.join(arguments[:1])}: exit {os.waitstatus_to_exitcode(status)}, {wall:.1f} s, {cpu:.1f} CPU s, "
        f"peak {usage.ru_maxrss / 1024:.0f} MiB, output {content.hexdigest()[:12]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--lesions", type=int, default=4)
    parser.add_argument("--database-url", default="")
    parser.add_argument("--repeat", type=int, default=2)
    chosen = parser.parse_args()
    trial = Trial(chosen.work / f"trial_{chosen.subjects}_{chosen.lesions}{'_url' * bool(chosen.database_url)}")
    if not trial.root.exists():
        started = time.monotonic()
        write_trial(trial.root, subjects=chosen.subjects, lesions=chosen.lesions, database_url=chosen.database_url)
        print(f"written in {time.monotonic() - started:.0f} s", flush=True)
        time.sleep(SETTLED_S)  # younger files are not remembered
    folder = str(trial.root)
    for arguments in (["status", folder, "--json"], ["run", folder], ["tables", folder, "--provisional"]):
        for _ in range(chosen.repeat):
            print(measured(arguments), flush=True)
    for path in sorted(trial.tables.iterdir()):
        print(
            f"{path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}, {path.stat().st_size >> 20} MiB"
        )


if __name__ == "__main__":
    main()
