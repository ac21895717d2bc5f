"""Time and memory from stored masks to all tables, for trials of several sizes.

    python benchmarks/tables.py WORK [--subjects 36 72 144] [--nprocs 2]

The trials consist of simulated subjects with seven visits each: FLAIR, T1 hypointensity, T2 lesions, enhancing lesions
and black holes of 2D scans in subject space. Every visit is read and locked, so that all lesions are counted again.
Four subjects are simulated. The others are links to their files. For each trial the script prints wall and CPU seconds
of ``mri-pipeline tables``, the peak memory of its process and of the largest worker process, and the digest of the
tables.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.results import load_result, save_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.lesions.tracking.track import track_subject
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.store import stage_read
from mri_pipeline.registry import ReadCounts, Registry
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.init import init_trial

SHAPE, SPACING_MM = (181, 208, 59), (0.9375, 0.9375, 3.0)
SIMULATED = 4
LESIONS = 30
NOISE = 0.04
GREY_MATTER, FLUID = 0.8, 0.3
"""Medians on T1, white matter 1."""
SITE = "S01"
KINDS = {LesionKind.T2: "t2_lesions", LesionKind.GEL: "gel", LesionKind.BLACK_HOLE: "black_holes"}


def simulated_subject(
    seed: int, weeks: Mapping[str, int | None], shape: tuple[int, int, int] = SHAPE
) -> tuple[list[VisitMasks], LabelImage]:
    """Masks and FLAIRs of all visits, and the location map: an ellipsoid with new and enhancing lesions."""
    rng = np.random.default_rng(seed)
    grid = Grid(shape, np.diag([*SPACING_MM, 1.0]))
    at = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, SPACING_MM, strict=True)]
    x, y, z = np.meshgrid(*at, indexing="ij")
    half = [abs(a[0]) for a in at]
    radius = np.sqrt((x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2)
    brain = radius < 0.97
    anatomy = ndimage.gaussian_filter(np.where(brain, np.where(radius < 0.8, 1.0, 1.15), 0.1), (1, 1, 0.5))
    centres = rng.uniform(-0.5, 0.5, (LESIONS, 3)) * half
    final_mm, first = rng.uniform(2.5, 6.0, LESIONS), rng.integers(-5, len(weeks), LESIONS)
    visits = []
    for i, visit in enumerate(weeks):
        masks = {name: np.zeros(shape, dtype=bool) for name in KINDS.values()}
        for (a, b, c), last_mm, start in zip(centres, final_mm, first, strict=True):
            if start > i:
                continue
            distance = np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2)
            masks["t2_lesions"] |= distance < last_mm * (0.8 if i == start else 1.0)
            masks["gel"] |= (distance < 0.7 * last_mm) & (i == start)
            masks["black_holes"] |= (distance < 0.6 * last_mm) & (start < -2)
        flair = anatomy + 0.42 * ndimage.gaussian_filter(masks["t2_lesions"].astype(float), (0.6, 0.6, 0.2))
        flair = np.where(brain, flair + NOISE * rng.standard_normal(shape), 0)
        labels = {name: LabelImage(mask & brain, grid) for name, mask in masks.items()}
        # a severe core in a shell of a black hole in hypointense tissue; cortex with the intensity of grey matter
        dark = ndimage.gaussian_filter(masks["black_holes"].astype(float), (0.8, 0.8, 0.3))
        t1 = np.where(radius < 0.8, 1.0, GREY_MATTER) - 0.15 * masks["t2_lesions"] - 0.6 * dark
        t1_hypointensity = LabelImage(_t1_hypointensity(t1 + NOISE * rng.standard_normal(shape), brain), grid)
        visits.append(
            VisitMasks(
                visit, **labels, flair=Image(flair.astype(np.float32), grid), t1_hypointensity=t1_hypointensity
            )
        )
    return visits, LabelImage(np.where(brain, 4, 0).astype(np.uint8), grid)


def _t1_hypointensity(t1: FloatArray, brain: BoolArray) -> NDArray[np.uint8]:
    """`lesions.black_holes.T1Hypointensity` of every voxel, in the format of the analysis."""
    limits = ((1 + GREY_MATTER) / 2, GREY_MATTER, (GREY_MATTER + FLUID) / 2)
    return np.where(brain, sum((t1 <= limit).astype(np.uint8) for limit in limits), 0).astype(np.uint8)


def write_trial(folder: Path, *, subjects: int, shape: tuple[int, int, int] = SHAPE) -> Trial:
    """Write a trial whose subjects are analysed, read and locked at every planned visit."""
    trial = init_trial(folder)
    protocol = load_protocol(trial.protocol_file)
    weeks: dict[str, int | None] = {visit.label: visit.week for visit in protocol.visits}
    codes = [f"BENCH{number:03d}" for number in range(subjects)]
    with Registry.open(trial, protocol) as registry:
        registry.record_dummy_run(SITE, accepted=True, upload_digest="made")
        for number, code in enumerate(codes):
            if number < SIMULATED:
                records = _write_subject(trial, code, *simulated_subject(number, weeks, shape), weeks)
            else:
                records = _link_subject(trial, codes[number % SIMULATED], code)
            for visit in weeks:
                registry.record_scan(code, visit, site=SITE, upload_digest=f"{code} {visit}")
                registry.record_analyses(code, {visit: (ScanStatus.ANALYSED, "")})
            reads = {(code, r.visit): ReadCounts(digest=r.digest, version=r.version) for r in records}
            registry.record_reads(reads, reader="R1", status=ReadStatus.CONFIRMED)
            registry.lock_reads(reads, reader="R1")
            keys = {visit.visit: visit.scan_key for visit in registry.subject(code).visits}
            result = trial.derivatives.result(code)
            save_result(replace(load_result(result), scan_keys=keys), result)
    return trial


def _write_subject(
    trial: Trial,
    code: str,
    visits: Sequence[VisitMasks],
    location: LabelImage,
    weeks: Mapping[str, int | None],
) -> list[ReadRecord]:
    derivatives, rules = trial.derivatives, load_protocol(trial.protocol_file).lesions
    labels = {"t2_lesions": MaskLabel.T2_LESION, "gel": MaskLabel.GEL, "black_holes": MaskLabel.BLACK_HOLE}
    records = []
    for masks in visits:
        nifti.save(masks.flair, derivatives.image(code, masks.visit, Contrast.FLAIR))
        nifti.save(masks.t1_hypointensity, derivatives.t1_hypointensity(code, masks.visit))
        for name, label in labels.items():
            nifti.save(getattr(masks, name), derivatives.mask(code, masks.visit, label))
        read = {kind: getattr(masks, name) for kind, name in KINDS.items()}
        records.append(stage_read(trial.reads, _record(code, masks.visit), read))
    nifti.save(location, derivatives.space(code).location)
    result = track_subject(visits, location, rules, weeks).result(code)
    save_result(replace(result, rules_digest=settings_digest(rules)), derivatives.result(code))
    return records


def _record(code: str, visit: str) -> ReadRecord:
    return ReadRecord(
        code, visit, f"{code}{visit}", "R1", "2020-01-01T00:00:00+00:00", ReadStatus.CONFIRMED, (), 0, 0, {}, {}, 1
    )


def _link_subject(trial: Trial, source: str, code: str) -> list[ReadRecord]:
    """Link the files of a subject under another code."""
    records = []
    for root in (trial.derivatives.root, trial.reads):
        for path in sorted(root.rglob("*.nii.gz")):
            if source in str(path):
                target = root / str(path.relative_to(root)).replace(source, code)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
    text = trial.derivatives.result(source).read_text(encoding="utf-8")
    trial.derivatives.result(code).parent.mkdir(parents=True, exist_ok=True)
    trial.derivatives.result(code).write_text(text.replace(source, code), encoding="utf-8")
    for folder in sorted((trial.reads / code).iterdir()):
        own = folder / "readers" / "R1" / "01"
        read = {kind: nifti.load_labels(own / kind.file) for kind in KINDS}
        records.append(stage_read(trial.reads, _record(code, folder.name), read))
    return records


def tables_digest(trial: Trial) -> str:
    """SHA-256 digest of all files of the tables."""
    digest = hashlib.sha256()
    for path in sorted(trial.tables.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _peak_mib() -> float:
    """Peak memory of this process; ru_maxrss would include that of the parent process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def _measured(trial: Trial, nprocs: int) -> None:
    started = time.monotonic()
    write_trial_tables(trial.root, provisional=False, nprocs=nprocs)
    wall = time.monotonic() - started
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in (own, others))
    print(
        f"{nprocs} processes: {wall:.0f} s, {cpu:.0f} CPU s, peak {_peak_mib():.0f} MiB, "
        f"of a counting process {others.ru_maxrss / 1024:.0f} MiB, tables {tables_digest(trial)[:12]}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+", default=[36, 72, 144])
    parser.add_argument("--nprocs", type=int, nargs="+", default=[2])
    chosen = parser.parse_args()
    for subjects in chosen.subjects:
        folder = chosen.work / f"trial_{subjects}"
        trial = Trial.existing(folder) if folder.is_dir() else write_trial(folder, subjects=subjects)
        for nprocs in chosen.nprocs:
            print(f"{subjects} subjects, ", end="", flush=True)
            process = get_context("spawn").Process(target=_measured, args=(trial, nprocs))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
