"""Paths in a trial folder and in a BIDS dataset of scans. This module reads no files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.core.derivative_layout import DerivativeDataset, SpaceFiles
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.visits import Contrast, visit_order

TRIAL_FILE = "trial.toml"

UNENHANCED = "acq-unenhanced_T1w"
"""BIDS suffix (with the acq entity) of a post-contrast T1 without enhancement."""


def what_is_at(path: Path) -> str:
    """Kind of a path that should be a folder with a certain file; for messages.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str

    Examples
    --------
    >>> what_is_at(Path("no/such/folder"))
    'nothing at that path'
    """
    if path.is_dir():
        return "a folder without it"
    return "a file" if path.exists() else "nothing at that path"


@dataclass(frozen=True)
class RawDataset:
    """A BIDS dataset of anatomical scans.

    Labels of subjects and visits have no ``sub-`` and ``ses-``.

    Parameters
    ----------
    root : Path
        Folder of the dataset.

    Examples
    --------
    >>> raw = RawDataset(Path("rawdata"))
    >>> raw.image("AB12", "wk04", Contrast.T1W_GD).as_posix()
    'rawdata/sub-AB12/ses-wk04/anat/sub-AB12_ses-wk04_ce-gadolinium_T1w.nii.gz'
    """

    root: Path

    def anat(self, subject: str, visit: str) -> Path:
        """Folder of the scans of one visit.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
        """
        return self.root / f"sub-{subject}" / f"ses-{visit}" / "anat"

    def image(self, subject: str, visit: str, contrast: Contrast) -> Path:
        """Path of one scan. Its sidecar has the same name with ``.json``.

        Parameters
        ----------
        subject, visit : str
        contrast : Contrast

        Returns
        -------
        Path
            Compressed NIfTI. The file may not exist.
        """
        return self.anat(subject, visit) / f"sub-{subject}_ses-{visit}_{contrast.value}.nii.gz"

    def unenhanced(self, subject: str, visit: str) -> Path:
        """Path of a T1 that was sent as post-contrast and shows no enhancement. No analysis uses it.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
            Compressed NIfTI. The file may not exist.
        """
        return self.anat(subject, visit) / f"sub-{subject}_ses-{visit}_{UNENHANCED}.nii.gz"

    def subjects(self) -> list[str]:
        """Subjects on disk.

        Returns
        -------
        list of str
            Labels without ``sub-``, sorted.
        """
        return sorted(p.name.removeprefix("sub-") for p in self.root.glob("sub-*") if p.is_dir())

    def visits(self, subject: str) -> list[str]:
        """Sessions on disk that contain a scan.

        Parameters
        ----------
        subject : str

        Returns
        -------
        list of str
            Labels without ``ses-``, in the order of `visit_order`.
        """
        folder = self.root / f"sub-{subject}"
        labels = (p.name.removeprefix("ses-") for p in folder.glob("ses-*"))
        return sorted((label for label in labels if self.scans(subject, label)), key=visit_order)

    def scans(self, subject: str, visit: str) -> dict[Contrast, Path]:
        """Scans of one visit on disk.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        dict of Contrast to Path
            ``.nii.gz`` or ``.nii``; empty if there is none.
        """
        found = {}
        for contrast in Contrast:
            path = self.image(subject, visit, contrast)
            for candidate in (path, path.with_suffix("")):
                if candidate.is_file():
                    found[contrast] = candidate
                    break
        return found


@dataclass(frozen=True)
class SourceDataset:
    """The de-identified DICOM series from which the scans of a `RawDataset` were converted.

    Labels of subjects and visits have no ``sub-`` and ``ses-``. A visit that an earlier version ingested has no series.

    Parameters
    ----------
    root : Path
        Folder of the dataset.

    Examples
    --------
    >>> SourceDataset(Path("sourcedata")).series("AB12", "wk04", Contrast.FLAIR).as_posix()
    'sourcedata/sub-AB12/ses-wk04/FLAIR'
    """

    root: Path

    def subject(self, subject: str) -> Path:
        """Folder of all series of a subject.

        Parameters
        ----------
        subject : str

        Returns
        -------
        Path
        """
        return self.root / f"sub-{subject}"

    def visit(self, subject: str, visit: str) -> Path:
        """Folder of the series of one visit: a folder for each scan, named by its BIDS suffix.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
        """
        return self.subject(subject) / f"ses-{visit}"

    def series(self, subject: str, visit: str, contrast: Contrast) -> Path:
        """Folder of the DICOM files of one scan.

        Parameters
        ----------
        subject, visit : str
        contrast : Contrast

        Returns
        -------
        Path
            It contains ``*.dcm`` alone. It may not exist.
        """
        return self.visit(subject, visit) / contrast.value


@dataclass(frozen=True)
class Trial:
    """A trial folder.

    Parameters
    ----------
    root : Path
        Folder of the trial.

    Examples
    --------
    >>> Trial(Path("T")).rawdata.root.as_posix()
    'T/rawdata'
    """

    root: Path

    @classmethod
    def existing(cls, root: Path) -> Trial:
        """The trial in a folder.

        Parameters
        ----------
        root : Path

        Returns
        -------
        Trial
            With an absolute `root`.

        Raises
        ------
        UsageError
            If the folder contains no ``trial.toml``.
        """
        if not (root / TRIAL_FILE).is_file():
            raise UsageError(
                f"expected a trial folder with trial.toml, found {what_is_at(root)}",
                hint="check the path; 'mri-pipeline init TRIAL' creates a trial",
            )
        return cls(root.resolve())

    @property
    def protocol_file(self) -> Path:
        """``trial.toml``."""
        return self.root / TRIAL_FILE

    @property
    def registry_file(self) -> Path:
        """The embedded registry."""
        return self.root / "registry.sqlite"

    @property
    def quarantine(self) -> Path:
        """Refused uploads with their reasons."""
        return self.root / "quarantine"

    @property
    def staging(self) -> Path:
        """Converted scans of uploads that are being ingested, and the locks of their subjects; mode 0700."""
        return self.root / "staging"

    def subject_lock(self, subject: str) -> Path:
        """Lock of a subject. Who uploads, analyses or reads its scans holds it.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        Path
        """
        return self.staging / f"{subject}.lock"

    @property
    def withdrawn(self) -> Path:
        """Scans and reads that were replaced or withdrawn: ``<code>/<visit>/<receipt>/{anat,reads,source}``.

        The receipt is the random name of the replacement or of the withdrawal.
        """
        return self.root / "withdrawn"

    @property
    def rawdata(self) -> RawDataset:
        """The accepted scans."""
        return RawDataset(self.root / "rawdata")

    @property
    def sourcedata(self) -> SourceDataset:
        """The de-identified DICOM series of the accepted scans."""
        return SourceDataset(self.root / "sourcedata")

    @property
    def derivatives(self) -> DerivativeDataset:
        """The results."""
        return DerivativeDataset(self.root / "derivatives" / "mri_pipeline")

    @property
    def reads(self) -> Path:
        """What readers confirmed."""
        return self.root / "reads"

    def kept_space(self, subject: str) -> SpaceFiles:
        """The space in which a subject's reads are made, from the first export on. No visit label has a "_".

        Parameters
        ----------
        subject : str

        Returns
        -------
        SpaceFiles
        """
        return SpaceFiles(self.reads / subject / "_space", subject)

    @property
    def reports(self) -> Path:
        """Reports of subjects and dummy runs."""
        return self.root / "reports"

    @property
    def tables(self) -> Path:
        """The blinded tables."""
        return self.root / "tables"

    @property
    def sealed(self) -> Path:
        """The key from trial subject to code."""
        return self.root / "sealed"

    @property
    def work(self) -> Path:
        """Nipype's cache; may be deleted."""
        return self.root / "work"

    def folders(self) -> Iterator[Path]:
        """All folders of a trial.

        Yields
        ------
        Path
        """
        yield from (
            self.quarantine, self.rawdata.root, self.derivatives.root, self.reads,
            self.reports, self.tables, self.sealed, self.work,
        )  # fmt: skip
