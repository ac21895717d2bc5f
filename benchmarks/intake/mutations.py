"""Mutated DICOM files at the gate: no crash, no hang, no partial visit, and what is accepted equals its headers.

    PYTHONPATH=. python benchmarks/intake/mutations.py WORK [--files 20000] [--visits 100] [--seed 0] [--minutes M]

Each mutation changes one file: a slice of a classic FLAIR of 12 slices, or an enhanced object of 12 frames. It changes
bytes, the length or the value of an element, or the pixels, or it cuts, repeats or inserts a part. The files are read
in batches by the process for untrusted headers. Each series then goes through choice, de-identification, conversion.
The script checks that

- every error is a refusal, and no step takes more than `LONGEST_S`,
- every slice of an accepted volume equals the pixels of the frame at its position, by a reader of its own (`unequal`),
- a slice is missing only if the upload says what was left out.

``--visits`` of the mutated files are also ingested with three whole series. The visit must be stored completely or not
at all (`agree`). The script prints what was found and exits with 1 if a check fails. It stops early after
``--minutes`` and says how many files were tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import numpy as np
import pydicom

from benchmarks.intake.mutate import mutate
from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.facts import InstanceFacts
from mri_pipeline.intake.read import HeaderReading, read_headers
from qc.compliance import UploadPurpose
from qc.conversion import convert_chosen, deidentify_chosen
from qc.gate import choose_series
from tests.unit import dicom_factory as factory
from tests.unit.enhanced_factory import EnhancedSpec, texture, write_enhanced
from tests.unit.ingest_trial import agree, ingest, new_trial

KEY = b"0123456789abcdef0123456789abcdef"
BATCH = 250
LONGEST_S = 900
"""Longest time of one file in seconds, many times what it takes on a busy machine."""

SLICES = 12
SPECS = tuple(replace(spec, shape=(16, 12, SLICES), spacing=12.0, thickness=12.0) for spec in factory.VISIT)
FLAIR = SPECS[0]


class HungError(Exception):
    """A step took too long."""


@dataclass(frozen=True)
class Source:
    """A whole FLAIR: its files, and their facts."""

    name: str
    files: tuple[Path, ...]
    facts: tuple[InstanceFacts, ...]


def sources(folder: Path) -> tuple[Source, ...]:
    """A classic and an enhanced FLAIR, the latter with frames out of order and a rescale slope for each."""
    classic = factory.write_series(folder / "classic", FLAIR)
    slopes = {k: 1.0 + k / 4 for k in range(SLICES)}
    how = EnhancedSpec((3, 0, 5, 9, 1, 11, 7, 4, 2, 10, 8, 6), slopes=slopes, intercepts={1: -3.0})
    enhanced = [write_enhanced(folder / "enhanced" / "0.dcm", FLAIR, texture(FLAIR.shape), how)]
    return tuple(
        Source(name, tuple(files), read_headers(files, key=KEY).instances)
        for name, files in (("classic", classic), ("enhanced", enhanced))
    )


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise HungError(f"more than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def reading_of(source: Source, changed: int, mutated: Path, batch: HeaderReading) -> HeaderReading:
    """The headers of a series one of whose files is mutated."""
    same = [facts for number, facts in enumerate(source.facts) if number != changed]
    facts = [f for f in batch.instances if f.path == mutated]
    broken = [report for report in batch.broken if report.facts is not None and report.facts.path == mutated]
    known = bool(facts or broken)
    return HeaderReading((*same, *facts), tuple(broken), {} if known else {"not_dicom": 1})


def intake(reading: HeaderReading, work: Path, trial: Trial) -> tuple[Image, tuple[Path, ...], str] | None:
    """The converted FLAIR, its files, and what was left out. None if the files contain no FLAIR.

    Raises
    ------
    UploadRefusedError
        If it is refused.
    """
    checked = choose_series(
        reading, not_kept={}, protocol=load_protocol(trial.protocol_file), purpose=UploadPurpose.VISIT
    )
    clean = deidentify_chosen(checked, work / "clean", Blinding("AB12", KEY))
    converted = dict(convert_chosen(checked, clean))
    notes = "; ".join(finding.message for finding in checked.compliance.findings)
    if Contrast.FLAIR not in converted:
        return None
    files = checked.chosen[Contrast.FLAIR].recognised.series.files
    return converted[Contrast.FLAIR].image, tuple(files), notes


def unequal(image: Image, files: tuple[Path, ...]) -> str:
    """How a volume differs from its files, or an empty text. An own reader of uncompressed pixels and positions."""
    slices: list[tuple[int, int]] = []
    to_voxel = np.linalg.inv(image.grid.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])  # from LPS
    tolerance = 1e-5 * float(np.abs(image.data).max())
    for path in files:
        dataset = pydicom.dcmread(path, force=True)
        size, frames = dataset.Rows * dataset.Columns, int(dataset.get("NumberOfFrames") or 1)
        stored = _stored(dataset, size * frames)
        for number in range(frames):
            groups = (dataset.get("PerFrameFunctionalGroupsSequence") or [None])[number : number + 1]
            found = [*groups, *(dataset.get("SharedFunctionalGroupsSequence") or []), dataset]
            position = _value(found, "PlanePositionSequence", "ImagePositionPatient")
            orientation = np.array(_value(found, "PlaneOrientationSequence", "ImageOrientationPatient"), float)
            spacing = np.array(_value(found, "PixelMeasuresSequence", "PixelSpacing"), float)
            slope = float(_value(found, "PixelValueTransformationSequence", "RescaleSlope") or 1)
            intercept = float(_value(found, "PixelValueTransformationSequence", "RescaleIntercept") or 0)
            values = stored[number * size : (number + 1) * size].reshape(dataset.Rows, dataset.Columns)
            row, column = np.indices(values.shape)
            places = np.array(position, float)[:, None] + np.outer(orientation[:3], column.ravel() * spacing[1])
            places = places + np.outer(orientation[3:], row.ravel() * spacing[0])
            voxels = (to_voxel @ np.vstack([places, np.ones(places.shape[1])]))[:3]
            whole = np.rint(voxels).astype(int)
            if np.abs(voxels - whole).max() > 0.05:
                return "a pixel between voxels"
            if (whole < 0).any() or (whole >= np.array(image.grid.shape)[:, None]).any():
                return "a pixel outside of the volume"
            if np.abs(image.data[tuple(whole)] - (values.ravel() * slope + intercept)).max() > tolerance:
                return "another value"
            axis = int(np.flatnonzero(np.ptp(whole, axis=1) == 0)[0])
            slices.append((axis, int(whole[axis, 0])))
    expected = [(axis, k) for axis in {axis for axis, _ in slices} for k in range(image.grid.shape[axis])]
    return "" if sorted(slices) == expected else "a slice without a frame"


def _stored(dataset: pydicom.Dataset, count: int) -> np.ndarray:
    """Stored pixels; bits above the highest stored one are none of the value."""
    order = "<" if dataset.original_encoding[1] else ">"  # also of a file that does not state its transfer syntax
    bits, size = int(dataset.BitsStored), int(dataset.BitsAllocated) // 8
    values = np.frombuffer(dataset.PixelData[: count * size], f"{order}u{size}").astype(np.int64) & (
        (1 << bits) - 1
    )
    if dataset.PixelRepresentation:
        values -= (values >> (bits - 1)) << bits
    return values


def _value(items: list[pydicom.Dataset | None], group: str, keyword: str) -> object:
    for item in items:
        inside = item.get(group) if item is not None else None
        for place in (inside[0] if inside else None, item):
            if place is not None and place.get(keyword) not in (None, ""):
                return place[keyword].value
    return None


def outcome(source: Source, changed: int, mutated: Path, batch: HeaderReading, trial: Trial) -> str:
    """What becomes of a series with a mutated file, or a fault."""
    work = mutated.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        with limited(LONGEST_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = intake(reading_of(source, changed, mutated, batch), work, trial)
            if result is None:
                return "refused, no FLAIR"
            image, files, notes = result
            difference = unequal(image, files)
    except UploadRefusedError as error:
        return f"refused, {type(error).__name__}"
    except Exception:  # noqa: BLE001 - what the script looks for
        return f"FAULT: {traceback.format_exc(limit=-3)}"
    return _accepted(source, mutated, files, difference, notes)


def _accepted(source: Source, mutated: Path, files: tuple[Path, ...], difference: str, notes: str) -> str:
    """How a volume was accepted, or a fault."""
    if difference:
        return f"FAULT: accepted with {difference}"
    if mutated in files or len(source.files) == 1:
        return "accepted"
    if "left out" in notes:
        return "accepted without the file, which is named"
    series = {pydicom.dcmread(path, force=True).get("SeriesInstanceUID") for path in (mutated, source.files[0])}
    # a single slice of another series may be any other image; coverage is compared between the scans of a visit
    return (
        "accepted without the file of another series" if len(series) == 2 else f"FAULT: slice lost; notes: {notes}"
    )


def whole_visit(source: Source, changed: int, mutated: Path, folder: Path) -> str:
    """Ingest a visit with the mutated file; stored completely or not at all, or a fault."""
    shutil.rmtree(folder, ignore_errors=True)
    trial = new_trial(folder / "trial")
    sent = factory.write_visit(folder / "upload", SPECS[1:])
    for number, file in enumerate(source.files):
        shutil.copy(mutated if number == changed else file, sent / f"flair_{number}.dcm")
    try:
        with limited(LONGEST_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ingest(trial, sent)
        expected = 1
    except UploadRefusedError:
        expected = 0
    except Exception:  # noqa: BLE001
        return f"FAULT: visit: {traceback.format_exc(limit=-3)}"
    try:
        held = len(agree(trial))
    except AssertionError:
        return "FAULT: registry and rawdata differ"
    if held != expected or list(trial.staging.glob("*_*")) or list(trial.work.glob("intake-*")):
        return "FAULT: half of a visit, or files left"
    return f"visit {'accepted' if held else 'refused'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--visits", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    work = options.work.resolve()
    whole, trial = sources(work / "sources"), new_trial(work / "trial")
    rng = np.random.default_rng(options.seed)
    states: Counter[str] = Counter()
    tried = visits = 0
    while tried < options.files and time.monotonic() < end:
        folder = work / "batch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        samples = []
        for number in range(min(BATCH, options.files - tried)):
            source = whole[int(rng.integers(2))]
            changed = int(rng.integers(len(source.files)))
            kind, content = mutate(source.files[changed].read_bytes(), rng)
            path = folder / f"{number:04d}.dcm"
            path.write_bytes(content)
            samples.append((source, changed, kind, path))
        batch = read_headers([path for *_, path in samples], key=KEY)
        for source, changed, kind, path in samples:
            found = [outcome(source, changed, path, batch, trial)]
            if visits < options.visits and tried % max(1, options.files // max(1, options.visits)) == 0:
                found.append(whole_visit(source, changed, path, work / "visit"))
                visits += 1
            tried += 1
            for state in found:
                states[f"{source.name}: {state}"] += 1
                if "FAULT" in state:
                    kept = work / "faults" / f"{tried}.dcm"
                    kept.parent.mkdir(exist_ok=True)
                    shutil.copy(path, kept)
                    print(f"{tried} {source.name} {kind} (file {changed}): {state}", flush=True)
        crashed = sum(report.fault == "crashed" for report in batch.broken)
        states["FAULT: the reading process ended"] += crashed
        print(f"{tried} files, {visits} visits, {_cpu_s():.0f} CPU s", flush=True)
    for state, count in sorted((+states).items()):
        print(f"{count:6d}  {state.splitlines()[0]}")
    sys.exit(any("FAULT" in state for state in +states))


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
