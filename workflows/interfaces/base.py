"""Common parts of the interfaces: image fields of a visit, loading and saving of models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, isdefined

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.core.visits import Contrast

FIELD: Mapping[Contrast, str] = {
    Contrast.FLAIR: "flair",
    Contrast.T1W: "t1w",
    Contrast.T1W_GD: "t1w_gd",
    Contrast.T2W: "t2w",
    Contrast.PDW: "pdw",
}
"""The field of each contrast in every interface and workflow."""


class ContrastInputSpec(BaseInterfaceInputSpec):
    """Images of one visit; all optional except FLAIR."""

    flair = File(exists=True, mandatory=True, desc="FLAIR")
    t1w = File(exists=True, desc="T1 before contrast")
    t1w_gd = File(exists=True, desc="T1 after gadolinium")
    t2w = File(exists=True, desc="T2")
    pdw = File(exists=True, desc="proton density")


class ContrastOutputSpec(TraitedSpec):
    """The same fields as outputs; a missing contrast is undefined."""

    flair = File(exists=True, desc="FLAIR")
    t1w = File(exists=True, desc="T1 before contrast")
    t1w_gd = File(exists=True, desc="T1 after gadolinium")
    t2w = File(exists=True, desc="T2")
    pdw = File(exists=True, desc="proton density")


class TissueOutputSpec(TraitedSpec):
    """The tissue maps of a subject."""

    white_matter = File(exists=True, desc="probability")
    grey_matter = File(exists=True, desc="probability")
    csf = File(exists=True, desc="probability")
    location = File(exists=True, desc="labels of mri_pipeline.core.anatomy.LOCATION_LABELS")
    lesion_prior = File(exists=True, desc="probability of a T2 lesion at this place")
    template_to_subject = File(exists=True, desc="affine from the template's world")


class TissueInputSpec(BaseInterfaceInputSpec):
    """The same fields as inputs."""

    white_matter = File(exists=True, mandatory=True, desc="probability")
    grey_matter = File(exists=True, mandatory=True, desc="probability")
    csf = File(exists=True, mandatory=True, desc="probability")
    location = File(exists=True, mandatory=True, desc="labels of mri_pipeline.core.anatomy.LOCATION_LABELS")
    lesion_prior = File(exists=True, mandatory=True, desc="probability of a T2 lesion at this place")
    template_to_subject = File(exists=True, mandatory=True, desc="affine from the template's world")


_TISSUE_IMAGES = ("white_matter", "grey_matter", "csf", "lesion_prior")
TISSUE_FIELDS = (*_TISSUE_IMAGES, "location", "template_to_subject")
"""The fields of the tissue maps, for connecting them."""


def load_contrasts(inputs: Any) -> dict[Contrast, Image]:
    """Load the images of all contrast fields that are set.

    Parameters
    ----------
    inputs : traits of `ContrastInputSpec`

    Returns
    -------
    dict of Contrast to Image

    Raises
    ------
    ImageError
        If a file is damaged.
    """
    files = {contrast: getattr(inputs, name) for contrast, name in FIELD.items()}
    return {contrast: nifti.load_image(file) for contrast, file in files.items() if isdefined(file)}


def load_if_given(file: Any) -> LabelImage | None:
    """Load the labels of an optional input.

    Parameters
    ----------
    file : str or Undefined
        Value of a `File` trait.

    Returns
    -------
    LabelImage or None
        None if the input is not set.

    Raises
    ------
    ImageError
        If the file is damaged.
    """
    return nifti.load_labels(file) if isdefined(file) else None


def load_tissue(inputs: Any) -> TissueMaps:
    """Load the tissue maps.

    Parameters
    ----------
    inputs : traits of `TissueInputSpec`

    Returns
    -------
    TissueMaps
    """
    return TissueMaps(
        **{name: nifti.load_map(getattr(inputs, name)) for name in _TISSUE_IMAGES},
        location=nifti.load_labels(inputs.location),
        template_to_subject=itk.load_transform(inputs.template_to_subject),
    )


class Step(SimpleInterface):
    """An interface that saves its results uncompressed in its working folder, which is fast and temporary."""

    def keep(self, runtime: Any, **results: Image | LabelImage) -> None:
        """Save images and set the output fields of the same names.

        Parameters
        ----------
        runtime : Bunch
            Of Nipype, with the working folder.
        **results : Image or LabelImage
            By name of the output field.
        """
        for field, image in results.items():
            self._results[field] = str(nifti.save(image, Path(runtime.cwd) / f"{field}.nii"))

    def keep_contrasts(self, runtime: Any, images: Mapping[Contrast, Image]) -> None:
        """Save the images of a visit to the fields of their contrasts.

        Parameters
        ----------
        runtime : Bunch
        images : mapping of Contrast to Image
        """
        self.keep(runtime, **{FIELD[contrast]: image for contrast, image in images.items()})

    def keep_transform(self, runtime: Any, field: str, transform: Affine) -> None:
        """Save a transform to a field.

        Parameters
        ----------
        runtime : Bunch
        field : str
            Name of the output field.
        transform : Affine
            World coordinates, RAS+ mm.
        """
        self._results[field] = str(itk.save_transform(transform, Path(runtime.cwd) / f"{field}.txt"))

    def keep_tissue(self, runtime: Any, tissue: TissueMaps) -> None:
        """Save tissue maps to the fields of `TissueOutputSpec`.

        Parameters
        ----------
        runtime : Bunch
        tissue : TissueMaps
        """
        self.keep(runtime, location=tissue.location, **{name: getattr(tissue, name) for name in _TISSUE_IMAGES})
        self.keep_transform(runtime, "template_to_subject", tissue.template_to_subject)


class ContentStep(Step):
    """A step that reads scans, or whose repetition is expensive. Nipype hashes its input files by content.

    A scan can be replaced by another one of the same size and time, and a file that was written again may have the
    content that it had. The files of the other steps are hashed by size and time (`workflows.engine`): those of the
    cache, and those of a kept space.
    """

    hash_by_content = True
