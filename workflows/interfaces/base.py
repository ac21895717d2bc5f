"""What all interfaces share: the files of a visit's contrasts, and models loaded from and saved to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, isdefined

from mri_pipeline import nifti
from mri_pipeline.model import Contrast, Image, LabelImage, VisitImages

FIELD: Mapping[Contrast, str] = {
    Contrast.FLAIR: "flair",
    Contrast.T1W: "t1w",
    Contrast.T1W_GD: "t1w_gd",
    Contrast.T2W: "t2w",
    Contrast.PDW: "pdw",
}
"""The field of each contrast in every interface and workflow."""


class ContrastInputSpec(BaseInterfaceInputSpec):
    """One visit's images, each optional but FLAIR."""

    flair = File(exists=True, mandatory=True, desc="FLAIR")
    t1w = File(exists=True, desc="T1 before contrast")
    t1w_gd = File(exists=True, desc="T1 after gadolinium")
    t2w = File(exists=True, desc="T2")
    pdw = File(exists=True, desc="proton density")


class ContrastOutputSpec(TraitedSpec):
    """The same fields on the way out; a contrast the visit lacks stays undefined."""

    flair = File(exists=True, desc="FLAIR")
    t1w = File(exists=True, desc="T1 before contrast")
    t1w_gd = File(exists=True, desc="T1 after gadolinium")
    t2w = File(exists=True, desc="T2")
    pdw = File(exists=True, desc="proton density")


def load_contrasts(inputs: Any) -> dict[Contrast, Image]:
    """The images of every contrast field that is set."""
    files = {contrast: getattr(inputs, name) for contrast, name in FIELD.items()}
    return {contrast: nifti.load_image(file) for contrast, file in files.items() if isdefined(file)}


def load_visit(inputs: Any) -> VisitImages:
    """The images with the mask in the field ``brain``."""
    return VisitImages(load_contrasts(inputs), nifti.load_labels(inputs.brain))


class Step(SimpleInterface):  # type: ignore[misc, unused-ignore]
    """An interface that saves what it makes uncompressed in its working folder (fast, and deleted with it)."""

    def keep(self, runtime: Any, **results: Image | LabelImage) -> None:
        """Save images and set the output fields of the same names."""
        for field, image in results.items():
            self._results[field] = str(nifti.save(image, Path(runtime.cwd) / f"{field}.nii"))

    def keep_contrasts(self, runtime: Any, images: Mapping[Contrast, Image]) -> None:
        """Save a visit's images to the fields of their contrasts."""
        self.keep(runtime, **{FIELD[contrast]: image for contrast, image in images.items()})
