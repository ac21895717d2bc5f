"""Where everything lies: a trial folder, a BIDS dataset, a derivative dataset. Paths only; no reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.mask_label import MaskLabel as MaskLabel  # noqa: PLC0414 - part of this module, too
from mri_pipeline.core.visits import Contrast, visit_order

TRIAL_FILE = "trial.toml"

UNENHANCED = "acq-unenhanced_T1w"
"""BIDS suffix (with the acq entity) of a post-contrast T1 without enhancement."""


def what_is_at(path: Path) -> str:
    """What lies at a path that should be a folder with a certain file; for messages.

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
class SpaceFiles:
    """The files of a subject's space: in the derivative dataset, and a copy beside the reads that were made in it.

    Parameters
    ----------
    folder : Path
        Folder of the files.
    subject : str
        BIDS label, without ``sub-``.

    Examples
    --------
    >>> SpaceFiles(Path("anat"), "AB12").brain.as_posix()
    'anat/sub-AB12_space-subject_desc-brain_mask.nii.gz'
    """

    folder: Path
    subject: str

    def _file(self, rest: str) -> Path:
        return self.folder / f"sub-{self.subject}_{rest}"

    @property
    def record(self) -> Path:
        """Visits from which the space was computed and visits registered to it later, as JSON; written last."""
        return self._file("space-subject_space.json")

    @property
    def brain(self) -> Path:
        """The subject's brain mask; its grid is the grid of the space."""
        return self._file("space-subject_desc-brain_mask.nii.gz")

    @property
    def location(self) -> Path:
        """Where in the brain each voxel lies (labels of `anatomy.LOCATION_LABELS`)."""
        return self._file("space-subject_desc-location_dseg.nii.gz")

    @property
    def maps(self) -> dict[str, Path]:
        """The probability maps by their field in `anatomy.TissueMaps`."""
        labels = {"white_matter": "WM", "grey_matter": "GM", "csf": "CSF", "lesion_prior": "T2lesion_desc-prior"}
        return {name: self._file(f"space-subject_label-{label}_probseg.nii.gz") for name, label in labels.items()}

    @property
    def template_to_subject(self) -> Path:
        """The ITK text affine from the template."""
        return self._file("from-template_to-subject_mode-image_xfm.txt")

    def flair_to_subject(self, visit: str) -> Path:
        """Transform of a visit's FLAIR that the analysis uses.

        Parameters
        ----------
        visit : str

        Returns
        -------
        Path
            ITK text transform.
        """
        return self._file(f"ses-{visit}_from-FLAIR_to-subject_mode-image_xfm.txt")

    def of_all_visits(self) -> list[Path]:
        """Files that do not change when a visit is added.

        Returns
        -------
        list of Path
        """
        return [self.brain, self.location, *self.maps.values(), self.template_to_subject]


@dataclass(frozen=True)
class DerivativeDataset:
    """The analysis of a BIDS dataset, itself a BIDS derivative dataset.

    Labels of subjects and visits have no ``sub-`` and ``ses-``.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    """

    root: Path

    def folder(self, subject: str) -> Path:
        """Folder of all results of a subject, which an analysis replaces as a whole.

        Parameters
        ----------
        subject : str

        Returns
        -------
        Path
        """
        return self.root / f"sub-{subject}"

    def anat(self, subject: str, visit: str) -> Path:
        """Folder of the results of one visit.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
        """
        return self.root / f"sub-{subject}" / f"ses-{visit}" / "anat"

    def _file(self, subject: str, visit: str, rest: str) -> Path:
        return self.anat(subject, visit) / f"sub-{subject}_ses-{visit}_{rest}"

    def image(self, subject: str, visit: str, contrast: Contrast) -> Path:
        """A scan in the subject's space, bias-corrected and normalised.

        Parameters
        ----------
        subject, visit : str
        contrast : Contrast

        Returns
        -------
        Path
        """
        *entities, suffix = contrast.value.split("_")
        return self._file(
            subject, visit, "_".join([*entities, "space-subject", "desc-preproc", f"{suffix}.nii.gz"])
        )

    def brain_mask(self, subject: str, visit: str) -> Path:
        """Brain mask in the subject's space.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
        """
        return self._file(subject, visit, "space-subject_desc-brain_mask.nii.gz")

    def mask(self, subject: str, visit: str, label: MaskLabel) -> Path:
        """A binary lesion mask in the subject's space.

        Parameters
        ----------
        subject, visit : str
        label : MaskLabel

        Returns
        -------
        Path
        """
        return self._file(subject, visit, f"space-subject_label-{label.value}_mask.nii.gz")

    def probability(self, subject: str, visit: str, label: MaskLabel) -> Path:
        """Probability map of T2 lesions or enhancing lesions in the subject's space.

        Parameters
        ----------
        subject, visit : str
        label : MaskLabel
            `MaskLabel.T2_LESION` or `MaskLabel.GEL`.

        Returns
        -------
        Path
        """
        return self._file(subject, visit, f"space-subject_label-{label.value}_probseg.nii.gz")

    def t1_hypointensity(self, subject: str, visit: str) -> Path:
        """Grades of T1 hypointensity in the subject's space. Their label table has the same name with ``.tsv``.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
        """
        return self._file(subject, visit, "space-subject_desc-T1hypointensity_dseg.nii.gz")

    def lesions(self, subject: str, visit: str) -> Path:
        """Numbered lesions in the subject's space. Their label table has the same name with ``.tsv``.

        Parameters
        ----------
        subject, visit : str

        Returns
        -------
        Path
        """
        return self._file(subject, visit, "space-subject_desc-lesions_dseg.nii.gz")

    def transform(self, subject: str, visit: str, contrast: Contrast) -> Path:
        """Transform from a scan to the subject's space.

        Parameters
        ----------
        subject, visit : str
        contrast : Contrast

        Returns
        -------
        Path
            ITK text transform.
        """
        source = contrast.value.replace("ce-gadolinium_T1w", "T1wGd")
        return self._file(subject, visit, f"from-{source}_to-subject_mode-image_xfm.txt")

    def space(self, subject: str) -> SpaceFiles:
        """The subject's space: the files that all visits share.

        Parameters
        ----------
        subject : str

        Returns
        -------
        SpaceFiles
        """
        return SpaceFiles(self.root / f"sub-{subject}" / "anat", subject)

    def visits(self, subject: str) -> list[str]:
        """Visits with results.

        Parameters
        ----------
        subject : str

        Returns
        -------
        list of str
            Labels without ``ses-``, in the order of `visit_order`.
        """
        folders = (self.root / f"sub-{subject}").glob("ses-*")
        return sorted((p.name.removeprefix("ses-") for p in folders if p.is_dir()), key=visit_order)

    def input_index(self, subject: str) -> Path:
        """Input scans of a subject of a BIDS dataset, in the order of its sessions.

        Parameters
        ----------
        subject : str

        Returns
        -------
        Path
            JSON (`bids_index.SubjectIndex`).
        """
        return self.root / f"sub-{subject}" / f"sub-{subject}_desc-input_index.json"

    def result(self, subject: str) -> Path:
        """Counts and lesions of a subject, from which tables are made.

        Parameters
        ----------
        subject : str

        Returns
        -------
        Path
            JSON (`records.SubjectResult`).
        """
        return self.root / f"sub-{subject}" / f"sub-{subject}_desc-lesions_result.json"

    def outcome(self, subject: str) -> Path:
        """Outcome of the last analysis of a subject: done, or the reason of a failure.

        Parameters
        ----------
        subject : str

        Returns
        -------
        Path
            JSON.
        """
        return self.root / f"sub-{subject}" / f"sub-{subject}_desc-outcome_result.json"

    def subjects(self) -> list[str]:
        """Subjects with results.

        Returns
        -------
        list of str
            Labels without ``sub-``, sorted.
        """
        return sorted(p.name.removeprefix("sub-") for p in self.root.glob("sub-*") if p.is_dir())


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
        """Converted scans of uploads that are being taken in, and the locks of their subjects; mode 0700."""
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
        """Scans and reads that were replaced or withdrawn: ``<code>/<visit>/<receipt>/{anat,reads}``.

        The receipt is the random name of the replacement or of the withdrawal.
        """
        return self.root / "withdrawn"

    @property
    def rawdata(self) -> RawDataset:
        """The accepted scans."""
        return RawDataset(self.root / "rawdata")

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
