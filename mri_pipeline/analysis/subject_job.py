"""Job file of one subject: passes an analysis from the batch to the process of the subject."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mri_pipeline import __version__
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import code_digest
from mri_pipeline.core.visits import Contrast


class VisitScans(BaseModel):
    """Scans of one visit.

    Attributes
    ----------
    visit : str
        Label of the visit.
    week : int or None
        None if the label contains no week.
    scans : dict of Contrast to Path
    scan_key : str
        Key of the scan in the registry (`registry.VisitState.scan_key`); empty without a registry.
    files : str
        `files_state` of `scans` when the job was made; empty if it is not compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    visit: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
    week: int | None
    scans: dict[Contrast, Path]
    scan_key: str = ""
    files: str = ""


def files_state(scans: Mapping[Contrast, Path]) -> str:
    """Digest of names, sizes and times of scan files. It changes if a scan is replaced.

    Parameters
    ----------
    scans : mapping of Contrast to Path

    Returns
    -------
    str
        SHA-256 of names, sizes and times of modification; of a missing file the name alone.
    """
    lines = []
    for contrast, path in sorted(scans.items()):
        found = path.stat() if path.is_file() else None
        lines.append(f"{contrast} {path.name}" + (f" {found.st_size} {found.st_mtime_ns}" if found else ""))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class SubjectJob(BaseModel):
    """Analysis job of one subject: visits in their order, rules, folders of results and cache.

    Parameters
    ----------
    subject : str
        Blinded code or BIDS label, without ``sub-``.
    visits : tuple of VisitScans
        All visits with a scan, in the order of time.
    planned : tuple of PlannedVisit
        All visits, with or without a scan, in the order of time.
    refused : tuple of str
        Planned visits whose scans were refused. Other planned visits without a scan are missing.
    protocol : str
        Name of the trial or dataset, for the report.
    rules : LesionRules
        Rules for the segmentation and counting of lesions.
    raw : Path or None
        Dataset of the scans; None if unknown.
    derivatives, reports, work : Path
        Folders for the derivative dataset, the subject's report, and Nipype's cache.
    order_source : str
        Source of the order of the visits, for the report.
    ignored : tuple of str
        Anatomical files that are not used, each with the reason, for the report.
    settings_digest : str
        Digest of the settings of the analysis.
    kept_space : Path or None
        Folder of the space in which readers have masks of this subject; None if a new space is computed.
    settled : tuple of str
        Visits with final numbers. If one of them can no longer be analysed, no result is changed.
    locks : tuple of Path
        Lock files that the analysis holds. The folder of the first one has the scans that an upload is about to move.
    beside : dict of str to str
        Further files in the subject's folder of the derivative dataset, by name: their text.
    keep_work : bool
        True: the cache is kept after a success.
    calibrate : bool
        True: measure the detection rates of simulated lesions, for the report. Results do not depend on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
    visits: Annotated[tuple[VisitScans, ...], Field(min_length=1)]
    planned: tuple[PlannedVisit, ...]
    refused: tuple[str, ...] = ()
    protocol: str
    rules: LesionRules
    raw: Path | None = None
    derivatives: Path
    reports: Path
    work: Path
    order_source: str = "protocol"
    ignored: tuple[str, ...] = ()
    settings_digest: str = ""
    kept_space: Path | None = None
    settled: tuple[str, ...] = ()
    locks: tuple[Path, ...] = ()
    beside: dict[str, str] = {}
    keep_work: bool = False
    calibrate: bool = False

    def sources(self, visit: VisitScans) -> dict[Contrast, str]:
        """Paths of the scans of a visit relative to `raw`.

        Parameters
        ----------
        visit : VisitScans

        Returns
        -------
        dict of Contrast to str
            Scans outside `raw` (by a link) are absent. Empty if `raw` is None.
        """
        if self.raw is None:
            return {}
        return {
            contrast: path.relative_to(self.raw).as_posix()
            for contrast, path in visit.scans.items()
            if path.is_relative_to(self.raw)
        }

    @property
    def subject_work(self) -> Path:
        """Nipype cache of this subject. Each version of the code has its own cache."""
        return self.work / f"v{__version__}-{code_digest()}" / f"sub-{self.subject}"

    @property
    def cached_by_other_code(self) -> bool:
        """True if only other versions of the code have a cache of this subject. The analysis then starts anew."""
        caches = list(self.work.glob(f"v*/sub-{self.subject}"))
        return bool(caches) and self.subject_work not in caches

    @property
    def log_file(self) -> Path:
        """Log of this subject's analyses."""
        return self.work / "logs" / f"sub-{self.subject}.log"

    @property
    def file(self) -> Path:
        """Job file for the process of the subject."""
        return self.subject_work / "job.json"

    def require_scans(self) -> None:
        """Refuse scans that were replaced since the job was made. The caller holds the locks.

        Raises
        ------
        UsageError
            If a file of a scan has changed, or an upload of this subject was interrupted.
        """
        changed = [v.visit for v in self.visits if self.locks and not v.scans]  # an ingest was moving them
        changed += [v.visit for v in self.visits if v.files and v.files != files_state(v.scans)]
        arriving = bool(self.locks) and any(self.locks[0].parent.glob(f"{self.subject}_*"))
        if changed or arriving:
            raise UsageError(
                f"expected the scans of {', '.join(changed) or 'all visits'} as at the start of the run, found "
                + ("others: they were replaced" if changed else "an upload that was interrupted"),
                hint="repeat the run",
            )

    def save(self) -> Path:
        """Write the job to `file`.

        Returns
        -------
        Path
        """
        return write_atomic(self.file, self.model_dump_json(indent=2))


def load_job(path: Path) -> SubjectJob:
    """Read a job.

    Parameters
    ----------
    path : Path

    Returns
    -------
    SubjectJob

    Raises
    ------
    SettingsError
        If the file is not a job.
    """
    try:
        return SubjectJob.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SettingsError(f"expected an analysis job, but {path.name} is not a valid one") from error
