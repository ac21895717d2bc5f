"""A small trial with an open gate, and uploads for it."""

from __future__ import annotations

import datetime as dt
import gzip
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.convert.compare import require_equal_values
from mri_pipeline.convert.frames import frames_of
from mri_pipeline.convert.pixels import pixels_key
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.registry import ReadCounts, Registry, ScanIdentity
from reading_centre.use_cases.trial.init import init_trial
from reading_centre.use_cases.uploads.ingest.visit import receive_visit
from tests.unit import dicom_factory as factory

SMALL = tuple(replace(spec, shape=(16, 12, 12), spacing=12.0, thickness=12.0) for spec in factory.VISIT)
WEEK0 = factory.Patient().begin
IDENTITIES = (b"Mustermann", b"HOSP-4711", b"Erika", b"19640812", b"20210314")

_NO_IMAGE_CHECKS = "from qc import decision; decision.judge_images = lambda measures, protocol: []; "
COMMAND = (sys.executable, "-c", _NO_IMAGE_CHECKS + "from reading_centre.cli import main; main()")
"""``mri-pipeline`` that accepts the objects of `upload`, which are no heads."""


def new_trial(folder: Path) -> Trial:
    """A trial by the protocol 'mesems' whose site S01 may send visits."""
    init_trial(folder)
    trial = Trial.existing(folder)
    with opened(trial) as registry:
        registry.record_dummy_run("S01", accepted=True, upload_digest="d0")
    return trial


def opened(trial: Trial) -> Registry:
    return Registry.open(trial, load_protocol(trial.protocol_file))


def upload(
    folder: Path, *, day: int = 0, seed: int = 0, patient: factory.Patient | None = None, specs=SMALL
) -> Path:
    """One visit: `day` days after the first; another day or `seed` gives other pixels."""
    patient = patient or factory.Patient()
    visit = replace(
        patient, study_uid=f"{patient.study_uid}.{day % 1000}.{seed}", begin=WEEK0 + dt.timedelta(days=day)
    )
    for spec in specs:
        folder.mkdir(parents=True, exist_ok=True)
        volume = factory.object_volume(spec.shape) + spec.number + 10 * seed
        volume[:, 0, 0] = 1000 + day % 1000
        uid = f"{visit.study_uid}.{spec.number}"
        for index in range(spec.shape[2]):
            pixels = volume[index].astype("uint16")
            dataset = factory.slice_dataset(spec, visit, uid, index, pixels)
            dataset.save_as(folder / f"{spec.number}_{index:03d}.dcm", enforce_file_format=True)
    return folder


def ingest(trial: Trial, sent: Path, visit: str = "wk00", **more: object):
    """Ingest as site S01, subject 0001, stated before the infusion."""
    arguments = {"site": "S01", "subject": "0001", "before_infusion": True} | more
    with mock.patch("qc.decision.judge_images", return_value=[]):  # the objects are no heads
        return receive_visit(trial.root, sent, visit=visit, **arguments)


def confirmed_read(trial: Trial, code: str) -> None:
    """Enter the analysis of week 0 and a read of it, which is an empty file."""
    with opened(trial) as registry:
        registry.record_analyses(code, {"wk00": (ScanStatus.ANALYSED, "")})
        counts = ReadCounts(accepted=2, digest="ab" * 32)
        registry.record_reads({(code, "wk00"): counts}, reader="R1", status=ReadStatus.CONFIRMED)
    (trial.reads / code / "wk00").mkdir(parents=True)
    (trial.reads / code / "wk00" / "read.json").write_text("{}")


@dataclass(frozen=True)
class Held:
    """What the registry says of an accepted visit."""

    subject: str
    visit: str
    upload: str
    receipt: str
    readers: tuple[str, ...]
    identity: ScanIdentity


def agree(trial: Trial) -> list[Held]:
    """The accepted visits; voxels and series on disk are those that the registry knows, and there are no others."""
    secret = Sealed.open(trial).secret("blinding")
    held = []
    with opened(trial) as registry:
        registry.verify_audit()
        assert registry.differences_from_audit() == []
        for code in registry.subjects():
            readers = {state.visit: state.readers for state in registry.subject(code).visits}
            for known in registry.relatives(code, ScanIdentity()):
                visit = known.visit
                words = (registry.upload(code, visit), registry.receipt(code, visit), readers[visit])
                held.append(Held(code, visit, *words, known.identity))
                found = {
                    contrast.value: pixels_key(load_image(path).data, secret)
                    for contrast, path in trial.rawdata.scans(code, visit).items()
                }
                assert found == known.identity.images
                series_agree(trial, code, visit)
    kept = sorted(
        path.relative_to(trial.sourcedata.root).parts for path in trial.sourcedata.root.glob("sub-*/ses-*")
    )
    assert kept == sorted((f"sub-{scan.subject}", f"ses-{scan.visit}") for scan in held)
    on_disk = [(code, visit) for code in trial.rawdata.subjects() for visit in trial.rawdata.visits(code)]
    assert on_disk == [(scan.subject, scan.visit) for scan in held]
    return held


def series_agree(trial: Trial, code: str, visit: str) -> None:
    """Every scan has its DICOM series, slice by slice, and there is no other series and no other file."""
    series = {path.name: path for path in trial.sourcedata.visit(code, visit).iterdir()}
    scans = sorted(trial.rawdata.anat(code, visit).glob("*.nii.gz"))
    assert len(series) == len(scans)
    for path in scans:
        suffix = path.name.removesuffix(".nii.gz").removeprefix(f"sub-{code}_ses-{visit}_")
        files = sorted(series[suffix].iterdir())
        assert {file.suffix for file in files} == {".dcm"}
        require_equal_values(load_image(path), frames_of(files), suffix)


def identified(trial: Trial) -> list[str]:
    """Files of a trial outside of its quarantine whose name or content identifies the patient; pickles are unpacked."""
    found = []
    for path in trial.root.rglob("*"):
        if trial.quarantine in path.parents:
            continue
        content = path.read_bytes() if path.is_file() else b""
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if any(word in content or word in os.fsencode(path.name) for word in IDENTITIES):
            found.append(path.relative_to(trial.root).as_posix())
    return found
