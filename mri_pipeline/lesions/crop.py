"""The crop of `mri_pipeline.core.crop`."""

from mri_pipeline.core.crop import Crop

__all__ = ["Crop"]
