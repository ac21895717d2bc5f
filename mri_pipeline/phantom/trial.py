"""The digital reference trial on disk: DICOM uploads of two sites, and the truth.

::

    OUT/
      manifest.json                       the uploads in their order, with the expected outcome
      uploads/S01/dummy/                  accepted
      uploads/S02/dummy/                  refused: 1.0 T
      uploads/S01/S01-001/wk00/ …         one folder (or ``.zip``) per visit
      truth/lesion_timepoints.csv         what a perfect reader would report
      truth/lesions.csv
      truth/S01-001/wk00_{t2,gel,bh}.nii.gz, wk00_from-subject_to-FLAIR.txt …
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.itk import save_transform
from mri_pipeline.core.visits import week_of
from mri_pipeline.phantom.designs import VISITS, SubjectDesign, reference_designs
from mri_pipeline.phantom.dicom import Examination, Patient
from mri_pipeline.phantom.dummy import DummyRunFault, write_dummy_run
from mri_pipeline.phantom.fields import generator
from mri_pipeline.phantom.scanner import PHILIPS_PANORAMA, SIEMENS_SKYRA, Dimension
from mri_pipeline.phantom.session import write_session
from mri_pipeline.phantom.subject import SimulatedSubject, VisitScan, simulate_subject, simulate_visit, truth_masks
from mri_pipeline.phantom.truth import SubjectTruth, subject_truth, write_truth_tables

MANIFEST = "manifest.json"
_SEED_TRIAL = 51
_VOLUNTEER = 900  # key of the volunteer's anatomy, who travels between the sites

Progress = Callable[[str], None]
"""Called with a progress message before each step."""


class UploadKind(StrEnum):
    """Purpose of an upload."""

    DUMMY_RUN = "dummy_run"
    VISIT = "visit"


@dataclass(frozen=True)
class Upload:
    """One upload of a site.

    Parameters
    ----------
    kind : UploadKind
    site : str
        Code of the site.
    path : str
        Folder or zip file, relative to the trial's folder.
    subject, visit : str
        Trial number and visit label; empty for a dummy run.
    accepted : bool
        True if the reading centre must accept it.
    reason : str
        Reason of the refusal; empty if it must be accepted.
    """

    kind: UploadKind
    site: str
    path: str
    subject: str = ""
    visit: str = ""
    accepted: bool = True
    reason: str = ""


@dataclass(frozen=True)
class ReferenceTrial:
    """A reference trial on disk.

    Parameters
    ----------
    root : Path
    protocol : str
        Name of its protocol.
    seed : int
    uploads : tuple of Upload
        In the order in which they are sent.
    """

    root: Path
    protocol: str
    seed: int
    uploads: tuple[Upload, ...]

    @property
    def truth(self) -> Path:
        """Folder of the truth."""
        return self.root / "truth"

    def path(self, upload: Upload) -> Path:
        """Path of an upload.

        Parameters
        ----------
        upload : Upload

        Returns
        -------
        Path
        """
        return self.root / upload.path

    def save(self) -> Path:
        """Write the manifest.

        Returns
        -------
        Path
        """
        path = self.root / MANIFEST
        record = {"protocol": self.protocol, "seed": self.seed, "uploads": [asdict(u) for u in self.uploads]}
        return write_atomic(path, json.dumps(record, indent=2) + "\n")

    @classmethod
    def load(cls, root: Path) -> ReferenceTrial:
        """Read a manifest.

        Parameters
        ----------
        root : Path

        Returns
        -------
        ReferenceTrial

        Raises
        ------
        UsageError
            If the folder holds no reference trial.
        """
        try:
            record = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
            uploads = tuple(Upload(**{**u, "kind": UploadKind(u["kind"])}) for u in record["uploads"])
            return cls(root, str(record["protocol"]), int(record["seed"]), uploads)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "expected a folder with the reference trial's manifest.json, found none that can be read",
                hint="write the reference trial first",
            ) from error


def made_up_patient(number: str, seed: int) -> Patient:
    """A fictitious name, number and birth date.

    Parameters
    ----------
    number : str
        Trial number of the subject.
    seed : int
        Of the trial.

    Returns
    -------
    Patient
        The same for the same number and seed.
    """
    rng = generator(seed, _SEED_TRIAL, *number.encode())
    family = rng.choice(["Musterfrau", "Bonnet", "Novakova", "Esempio", "Jansen", "Smithson"])
    given = rng.choice(["Anna", "Claire", "Petra", "Giulia", "Maartje", "Joan"])
    birth = date(1972, 1, 1) + timedelta(days=int(rng.integers(0, 9000)))
    return Patient(
        f"{family}^{given}", f"HOSP{int(rng.integers(10_000, 99_999))}", birth, "F", float(rng.integers(52, 85))
    )


def visit_study(number: str, visit: str, seed: int) -> Examination:
    """Date of a visit: its week after the first, ± two days.

    Parameters
    ----------
    number : str
        Trial number of the subject.
    visit : str
        Label of the visit.
    seed : int
        Of the trial.

    Returns
    -------
    Examination
    """
    rng = generator(seed, _SEED_TRIAL, 1, *number.encode())
    start = datetime(2019, 3, 4, 9, 5) + timedelta(days=int(rng.integers(0, 200)))  # noqa: DTZ001  (DICOM's local time)
    week = week_of(visit) or 0
    drift = int(rng.integers(-2, 3)) if week else 0
    at = start + timedelta(weeks=week, days=drift, minutes=7 * week)
    return Examination(at, accession=f"ACC{int(rng.integers(10_000, 99_999))}{week:02d}", study_id=str(100 + week))


def _zip(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(folder))
    shutil.rmtree(folder)
    return archive


def write_visit_truth(subject: SimulatedSubject, visit: str, scan: VisitScan, folder: Path) -> None:
    """Write masks in the subject's space, and ITK transforms from that space to each series.

    Parameters
    ----------
    subject : SimulatedSubject
    visit : str
        Label of the visit.
    scan : VisitScan
        Of this visit.
    folder : Path
    """
    for name, mask in truth_masks(subject, visit).items():
        small = type(mask)(mask.data.astype(np.uint8), mask.grid) if mask.data.max() < 256 else mask
        nifti.save(small, folder / f"{visit}_{name}.nii.gz")
    for contrast, pose in scan.subject_to_scanner.items():
        name = contrast.value.replace("ce-gadolinium_T1w", "T1wGd")
        save_transform(pose, folder / f"{visit}_from-subject_to-{name}.txt")


def _write_subject(
    design: SubjectDesign, out_dir: Path, *, seed: int, dimension: Dimension, progress: Progress
) -> tuple[SubjectTruth, list[Upload]]:
    key = int(generator(seed, _SEED_TRIAL, 2, *design.number.encode()).integers(2**31))
    progress(f"{design.number}: head and lesions")
    subject = simulate_subject(key, VISITS, plans=design.plans, missing=design.missing)
    uploads = []
    for visit in VISITS:
        if visit in design.missing:
            continue
        progress(
            f"{design.number} {visit}: {design.scanner.vendor.name} {design.scanner.model}, {dimension.value}"
        )
        scan = simulate_visit(subject, visit, scanner=design.scanner, dimension=dimension)
        folder = out_dir / "uploads" / design.site / design.number / visit
        write_session(
            scan,
            scanner=design.scanner,
            patient=made_up_patient(design.number, seed),
            study=visit_study(design.number, visit, seed),
            out_dir=folder,
        )
        path = _zip(folder) if visit in design.zipped else folder
        write_visit_truth(subject, visit, scan, out_dir / "truth" / design.number)
        relative = path.relative_to(out_dir).as_posix()
        uploads.append(Upload(UploadKind.VISIT, design.site, relative, design.number, visit))
    return subject_truth(subject, design.number), uploads


def _write_dummy_runs(out_dir: Path, *, seed: int, dimension: Dimension, progress: Progress) -> list[Upload]:
    progress("volunteer: head")
    key = int(generator(seed, _SEED_TRIAL, _VOLUNTEER).integers(2**31))
    volunteer = simulate_subject(key, ("dummy",), plans=())
    uploads = []
    for site, scanner, run in (
        ("S01", SIEMENS_SKYRA, DummyRunFault.GOOD),
        ("S02", PHILIPS_PANORAMA, DummyRunFault.LOW_FIELD),
    ):
        progress(f"{site}: dummy run on {scanner.vendor.name} {scanner.model}, {scanner.field_strength_t} T")
        folder = out_dir / "uploads" / site / "dummy"
        write_dummy_run(volunteer, folder, run=run, scanner=scanner, dimension=dimension, seed=seed)
        path = folder.relative_to(out_dir).as_posix()
        uploads.append(
            Upload(UploadKind.DUMMY_RUN, site, path, accepted=run is DummyRunFault.GOOD, reason=run.reason)
        )
    return uploads


def write_reference_trial(
    out_dir: Path,
    *,
    seed: int = 1,
    dimension: Dimension = Dimension.TWO_D,
    designs: Sequence[SubjectDesign] | None = None,
    progress: Progress | None = None,
) -> ReferenceTrial:
    """Simulate the trial and write it.

    Parameters
    ----------
    out_dir : Path
        A new or empty folder.
    seed : int
        Other seeds give other heads and lesions of the same design: counts are the same, volumes differ.
    dimension : Dimension
        2D at 3 mm, or 3D at 1 mm, which takes about three times as long.
    designs : sequence of SubjectDesign, optional
        Default: `reference_designs`.
    progress : callable, optional
        Called with a description of each step.

    Returns
    -------
    ReferenceTrial

    Raises
    ------
    UsageError
        If the folder is not empty.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise UsageError(
            "expected an empty folder for the reference trial, found files", hint="name another folder"
        )
    report = progress or (lambda _line: None)
    uploads = _write_dummy_runs(out_dir, seed=seed, dimension=dimension, progress=report)
    truths = []
    for design in reference_designs() if designs is None else designs:
        truth, visits = _write_subject(design, out_dir, seed=seed, dimension=dimension, progress=report)
        truths.append(truth)
        uploads += visits
    write_truth_tables(truths, out_dir / "truth")
    trial = ReferenceTrial(out_dir, "demo", seed, tuple(uploads))
    trial.save()
    return trial
