"""Paths in a BIDS derivative dataset of the analysis. This module reads no files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.visits import Contrast, visit_order


def subject_report(folder: Path, subject: str) -> Path:
    """Path of the report of a subject.

    Parameters
    ----------
    folder : Path
        Folder of the reports.
    subject : str
        Blinded code or BIDS label, without ``sub-``.

    Returns
    -------
    Path
        HTML.
    """
    return folder / f"sub-{subject}.html"


def calibration_file(folder: Path, subject: str) -> Path:
    """Path of the detection rates of a subject (``run --calibrate``).

    Parameters
    ----------
    folder : Path
        Folder of the reports.
    subject : str
        Blinded code or BIDS label, without ``sub-``.

    Returns
    -------
    Path
        CSV, as `mri_pipeline.analysis.calibration.calibration_text`.
    """
    return folder / "calibration" / f"sub-{subject}.csv"


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
    def whole_brain(self) -> Path:
        """Brain mask with the regions that some visit has not scanned. Spaces of version 0.3.0 have none."""
        return self._file("space-subject_desc-wholebrain_mask.nii.gz")

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
        """Files that define the space and do not change when a visit is added.

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
        return self.folder(subject) / f"ses-{visit}" / "anat"

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
        return SpaceFiles(self.folder(subject) / "anat", subject)

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
        folders = self.folder(subject).glob("ses-*")
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
        return self.folder(subject) / f"sub-{subject}_desc-input_index.json"

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
        return self.folder(subject) / f"sub-{subject}_desc-lesions_result.json"

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
        return self.folder(subject) / f"sub-{subject}_desc-outcome_result.json"

    def provenance(self, subject: str) -> Path:
        """What the last analysis of a subject read and wrote, and by which software and rules.

        Parameters
        ----------
        subject : str

        Returns
        -------
        Path
            JSON (`publication.Provenance`).
        """
        return self.folder(subject) / f"sub-{subject}_desc-provenance_result.json"

    @property
    def tables(self) -> Path:
        """Tables of the output of ``bids``. Those of a trial are in the folder of the trial."""
        return self.root / "tables"

    @property
    def reports(self) -> Path:
        """Reports of the output of ``bids``. Those of a trial are in the folder of the trial."""
        return self.root / "reports"

    def subjects(self) -> list[str]:
        """Subjects with results.

        Returns
        -------
        list of str
            Labels without ``sub-``, sorted.
        """
        return sorted(p.name.removeprefix("sub-") for p in self.root.glob("sub-*") if p.is_dir())
