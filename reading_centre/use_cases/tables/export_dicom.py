"""Export of the counted lesions as DICOM segmentations and structured reports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mri_pipeline import __version__
from mri_pipeline.analysis import steps
from mri_pipeline.analysis.flair_series import FlairSeries, read_flair_series
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.exchange import replace_folder
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.io.manifest import MANIFEST, write_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import software
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.dicom_export.codes import KINDS
from mri_pipeline.dicom_export.describe import ObjectOf, with_required
from mri_pipeline.dicom_export.listing import ExportedLesion, ExportedVisit, Found, listed_lesions, volumes_text
from mri_pipeline.dicom_export.report import lesion_volumes, make_report
from mri_pipeline.dicom_export.segmentation import Segments, make_segmentation
from mri_pipeline.registry import Registry, SubjectState, Use
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import subject_tables
from mri_pipeline.tables.schema import LESIONS, TIMEPOINTS
from reading_centre.use_cases.tables.counting import LockInputs, counted_subject
from reading_centre.use_cases.trial.private_folder import private_folder
from reading_centre.use_cases.trial.staging import only_writer, settle_subject

RECORD: Final = "export.json"
VOLUMES: Final = "volumes.csv"
REPORT: Final = "measurements_sr.dcm"
FOLDER: Final = "dicom"
"""Default folder of the export in the trial."""


@dataclass(frozen=True)
class DicomExport:
    """An export that was written.

    Parameters
    ----------
    folder : Path
    provisional : bool
    visits : tuple of ExportedVisit
    """

    folder: Path
    provisional: bool
    visits: tuple[ExportedVisit, ...]


def export_dicom(
    folder: Path, *, to: Path | None = None, subjects: Collection[str] = (), provisional: bool = False
) -> DicomExport:
    """Write the counted lesions of a trial as DICOM. If one subject cannot be exported, nothing is written.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    to : Path, optional
        Folder of the export; ``TRIAL/dicom`` if None. An earlier export there is replaced as a whole.
    subjects : collection of str
        Blinded codes; all subjects if empty.
    provisional : bool
        True: all analysed visits, with their read status in every object. False: locked reads only, as in the tables.

    Returns
    -------
    DicomExport

    Raises
    ------
    UsageError
        If a subject is unknown, no visit is to be exported, a visit has no DICOM series or another one than its scan,
        analysis and reads do not belong together, or the folder is no earlier export.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    place = (to or trial.root / FOLDER).resolve()
    _require_place(trial, place)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        with _whole(place) as new:
            visits = [
                visit
                for code in _chosen(registry, subjects)
                for visit in _Subject(trial, protocol, registry, code, provisional).export(new)
            ]
            if not visits:
                raise _nothing(provisional=provisional)
            _write_lists(new, visits, protocol.name, provisional=provisional)
            write_manifest(new)
            manifest = file_digest(new / MANIFEST)
        registry.audit(
            AuditAction.DICOM_EXPORTED,
            details={
                "provisional": provisional,
                "visits": [f"{visit.subject} {visit.visit}" for visit in visits],
                "manifest": manifest,
                "software": software()["mri-pipeline source"],
            },
        )
    return DicomExport(place, provisional, tuple(visits))


def _require_place(trial: Trial, place: Path) -> None:
    """Refuse a folder that holds something else, or belongs to the trial."""
    around = trial.root.is_relative_to(place)
    if around or (place.is_relative_to(trial.root) and not place.is_relative_to(trial.root / FOLDER)):
        found = "one that contains the trial" if around else f"its folder {place.relative_to(trial.root)}/"
        raise UsageError(
            f"expected a folder outside of the trial, or its folder {FOLDER}/, found {found}",
            hint="leave out --to, or name a folder elsewhere",
        )
    if place.exists() and not (place / RECORD).is_file() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(
            "expected a new folder or that of an earlier export, found "
            + (f"one without {RECORD}" if place.is_dir() else "a file"),
            hint="name a folder that does not exist",
        )


@contextmanager
def _whole(place: Path) -> Iterator[Path]:
    """A private folder that takes the place of an earlier export at the end, or is removed."""
    part, lock = place.with_name(f".{place.name}.part"), place.with_name(f".{place.name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(lock, wait_s=0):
            shutil.rmtree(part, ignore_errors=True)  # of a killed command
            part.mkdir(mode=0o700)
            try:
                yield part
                sync_tree(part)
                replace_folder(part, place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
                lock.unlink(missing_ok=True)
    except LockedError as error:
        raise UsageError(
            f"an export to this folder is in progress ({error.holder})",
            hint="wait for its end, then repeat the command",
        ) from error


def _chosen(registry: Registry, subjects: Collection[str]) -> list[str]:
    known = [state.code for state in registry.state().subjects]
    unknown = sorted(set(subjects) - set(known))
    if unknown:
        raise UsageError(
            f"expected blinded codes of subjects, found {', '.join(unknown)}",
            hint="'mri-pipeline status TRIAL' lists them",
        )
    return [code for code in known if not subjects or code in subjects]


def _nothing(*, provisional: bool) -> UsageError:
    if provisional:
        return UsageError("expected analysed visits, found none", hint="run 'mri-pipeline run TRIAL' first")
    return UsageError(
        "expected locked reads, found none",
        hint="confirm and lock reads with 'mri-pipeline read', or ask for a --provisional export",
    )


@dataclass(frozen=True)
class _Subject:
    """A subject to be exported."""

    trial: Trial
    protocol: Protocol
    registry: Registry
    code: str
    provisional: bool

    def export(self, folder: Path) -> list[ExportedVisit]:
        """Write the objects of its visits. Scans, analysis and reads do not change meanwhile."""
        with only_writer(self.trial, self.code):
            settle_subject(self.trial, self.protocol, self.registry, self.code)
            state = self.registry.subject(self.code)
            wanted = self._wanted(state)
            if not wanted:
                return []
            counted, masks = counted_subject(self.trial, self.protocol, state, self._depends())
            if masks is None:
                return []
            tables = self._tables(counted)
            numbered = steps.number(
                masks.masks, tissue_location=masks.location, rules=self.protocol.lesions, weeks=masks.weeks
            )
            return [
                self._visit(folder, one.lesions, wanted[one.visit], tables)
                for one in numbered
                if one.visit in wanted
            ]

    def _wanted(self, state: SubjectState) -> dict[str, ObjectOf]:
        """The visits to be exported."""
        build = software()["mri-pipeline source"]
        wanted = {}
        for visit in state.visits:
            status, read = visit.read or ReadStatus.AUTOMATIC, visit.counting
            if visit.scan.for_tables is ScanStatus.ANALYSED and (self.provisional or status is ReadStatus.LOCKED):
                wanted[visit.visit] = ObjectOf(
                    self.code, visit.visit, status.value, read.reader if read else "",
                    provisional=self.provisional and status is not ReadStatus.LOCKED,
                    version=__version__, build=build,
                )  # fmt: skip
        return wanted

    def _depends(self) -> LockInputs:
        locked = self.registry.locked_inputs()
        return {visit: inputs for (subject, visit), inputs in locked.items() if subject == self.code}

    def _tables(self, counted: SubjectInput) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return subject_tables(
            counted, planned_visits(self.protocol), study=self.protocol.name, provisional=self.provisional
        )

    def _visit(
        self,
        folder: Path,
        lesions: Mapping[MaskLabel, LabelImage],
        of: ObjectOf,
        tables: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> ExportedVisit:
        (timepoint,) = [row for row in tables[TIMEPOINTS.file] if row["visit"] == of.visit]
        rows = [row for row in tables[LESIONS.file] if row["visit"] == of.visit]
        series = self._series(of)
        transform = load_transform(self.trial.derivatives.transform(self.code, of.visit, Contrast.FLAIR))
        for source in series.datasets:
            with_required(source)
        made: dict[MaskLabel, Segments] = {}
        listed: list[ExportedLesion] = []
        for kind, labels in lesions.items():
            frames = series.frames(labels, transform)
            segments = make_segmentation(series.datasets, frames, kind, of)
            if segments is not None:
                made[kind] = segments
            found = Found(kind, labels, frames, series.grid, segments)
            listed += listed_lesions(found, lesion_volumes(rows, kind), of)
        report = make_report(series.datasets, made, timepoint, rows, of)
        place = folder / f"sub-{of.subject}" / f"ses-{of.visit}"
        place.mkdir(parents=True)
        files = {KINDS[kind].file: segments.dataset for kind, segments in made.items()} | {REPORT: report}
        for name, dataset in files.items():
            dataset.save_as(place / name, enforce_file_format=True)
        names = (str((place / name).relative_to(folder)) for name in files)
        return ExportedVisit(of.subject, of.visit, of.status, tuple(names), tuple(listed))

    def _series(self, of: ObjectOf) -> FlairSeries:
        scan = nifti.load_image(self.trial.rawdata.image(self.code, of.visit, Contrast.FLAIR))
        folder = self.trial.sourcedata.series(self.code, of.visit, Contrast.FLAIR)
        with private_folder(self.trial.work) as work:
            what = f"subject {of.subject}, visit {of.visit}, FLAIR"
            return read_flair_series(folder, scan, work / "decoded", what=what)


def _write_lists(folder: Path, visits: Sequence[ExportedVisit], study: str, *, provisional: bool) -> None:
    """Write volumes.csv and export.json."""
    write_atomic(folder / VOLUMES, volumes_text(lesion for visit in visits for lesion in visit.lesions))
    record = {
        "study": study,
        "provisional": provisional,
        "software": software(),
        "visits": [
            {"subject": v.subject, "visit": v.visit, "read_status": v.status, "files": v.files} for v in visits
        ],
    }
    write_atomic(folder / RECORD, json.dumps(record, indent=1) + "\n")
