"""The ICBM 2009a nonlinear symmetric template that comes with the package.

Fonov et al., NeuroImage 2009;47:S102. Origin and licence: ``mri_pipeline/data/ORIGIN.md``.
"""

from functools import cache, cached_property
from typing import Final

import numpy as np

from mri_pipeline.core.holes import filled
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.io.packaged import packaged
from mri_pipeline.core.spatial import Grid, Image, LabelImage

COARSE_FILE: Final = "mni_icbm152_coarse.npz"
COARSE_MAPS: Final = (
    ("t1", 8), ("brain", 8), ("t1", 4), ("brain", 4), ("grey_matter", 3), ("white_matter", 3), ("brain", 3),
)  # fmt: skip
"""Maps of the template that exist as block means, and the side of the blocks in mm."""

_ORIGIN_MM: Final = (-98.0, -134.0, -72.0)
"""Position of the first voxel at 1 mm."""


class Template:
    """The template at 1 mm. Each map is read when it is first used.

    Registration and quality measures use the coarse maps alone, which takes a hundredth of the memory.
    """

    @cached_property
    def t1(self) -> Image:
        """T1 intensities without skull, scaled to [0, 1]."""
        return _scaled_map("t1")

    @cached_property
    def grey_matter(self) -> Image:
        """Grey matter, scaled to [0, 1]."""
        return _scaled_map("gm")

    @cached_property
    def white_matter(self) -> Image:
        """White matter, scaled to [0, 1]."""
        return _scaled_map("wm")

    @cached_property
    def brain(self) -> LabelImage:
        """Brain mask: parenchyma and ventricles. The T1 above zero, with holes filled."""
        return LabelImage(filled(self.t1.data > 0), self.t1.grid)

    def coarse(self, name: str, block_mm: int) -> Image:
        """Block means of a map.

        Parameters
        ----------
        name : str
            Name of a map; ``brain`` is the share of brain in each block.
        block_mm : int
            Side of the blocks: one of `COARSE_MAPS`.

        Returns
        -------
        Image
            As `mri_pipeline.images.sampling.downsample` of the map.

        Raises
        ------
        KeyError
            If the package has no such map.

        Examples
        --------
        >>> load_template().coarse("brain", 8).grid.describe()
        '24 x 29 x 23 voxels of 8.00 x 8.00 x 8.00 mm, RAS'
        """
        with packaged(COARSE_FILE) as path, np.load(path) as maps:
            data = maps[f"{name}_{block_mm}mm"]
        affine = np.diag([block_mm, block_mm, block_mm, 1.0])
        affine[:3, 3] = np.array(_ORIGIN_MM) + (block_mm - 1) / 2  # centre of the first block
        return Image(data, Grid(data.shape, affine))


@cache
def load_template() -> Template:
    """The template, one per process.

    Returns
    -------
    Template

    Examples
    --------
    >>> load_template().t1.grid.describe()
    '197 x 233 x 189 voxels of 1.00 x 1.00 x 1.00 mm, RAS'
    """
    return Template()


def _scaled_map(kind: str) -> Image:
    with packaged(f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz") as path:
        image = load_image(path)
    return Image(image.data / np.max(image.data), image.grid)
