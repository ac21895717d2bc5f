"""What one subject's analysis needs, as a file: the border between the batch and a subject's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mri_pipeline import __version__
from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import code_digest
from mri_pipeline.core.visits import Contrast


class VisitScans(BaseModel):
    """One visit's scans; `week` is None where the label names none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    visit: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
    week: int | None
    scans: dict[Contrast, Path]


class SubjectJob(BaseModel):
    """One subject: the visits in their order, the rules, and where results and cache go.

    Parameters
    ----------
    subject : str
        Blinded code or BIDS label, without ``sub-``.
    visits : tuple of VisitScans
        Every visit that has a scan, in the order of time.
    planned : tuple of PlannedVisit
        Every visit, with or without a scan, in the order of time.
    refused : tuple of str
        Planned visits whose scans were refused. Other planned visits without a scan are missing.
    protocol : str
        Name of the trial or dataset, for the report.
    rules : LesionRules
        What is counted.
    raw : Path or None
        The dataset of the scans; None if it is not known.
    derivatives, reports, work : Path
        Folders for the derivative dataset, the subject's report, and Nipype's cache.
    order_source : str
        Where the order of the visits comes from, for the report.
    ignored : tuple of str
        Anatomical files that are not used, each with the reason, for the report.
    settings_digest : str
        Digest of the protocol that made the result.
    kept_space : Path or None
        Folder of the space in which readers have masks of this subject; None: the space is made anew.
    settled : tuple of str
        Visits whose numbers count already: where one of them cannot be analysed any more, nothing is changed.
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

    def sources(self, visit: VisitScans) -> dict[Contrast, str]:
        """The paths of a visit's scans below `raw`; a scan that a link takes elsewhere has none."""
        if self.raw is None:
            return {}
        return {
            contrast: path.relative_to(self.raw).as_posix()
            for contrast, path in visit.scans.items()
            if path.is_relative_to(self.raw)
        }

    @property
    def subject_work(self) -> Path:
        """Nipype's cache of this subject; other code starts a new one."""
        return self.work / f"v{__version__}-{code_digest()}" / f"sub-{self.subject}"

    @property
    def cached_by_other_code(self) -> bool:
        """True if only other code has a cache of this subject: the analysis starts anew."""
        caches = list(self.work.glob(f"v*/sub-{self.subject}"))
        return bool(caches) and self.subject_work not in caches

    @property
    def log_file(self) -> Path:
        """Log of this subject's analyses."""
        return self.work / "logs" / f"sub-{self.subject}.log"

    @property
    def file(self) -> Path:
        """Where the job is written for the subject's own process."""
        return self.subject_work / "job.json"

    def save(self) -> Path:
        """Write the job to `file`."""
        return write_atomic(self.file, self.model_dump_json(indent=2))


def load_job(path: Path) -> SubjectJob:
    """Read a job.

    Raises
    ------
    SettingsError
        If the file is not a job.
    """
    try:
        return SubjectJob.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SettingsError(f"expected an analysis job, found {path.name} that is none") from error
