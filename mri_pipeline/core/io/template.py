"""The ICBM 2009a nonlinear symmetric template that comes with the package.

Fonov et al., NeuroImage 2009;47:S102. Origin and licence: ``mri_pipeline/data/ORIGIN.md``.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.io.packaged import packaged
from mri_pipeline.core.spatial import Image, LabelImage


@dataclass(frozen=True)
class Template:
    """The template at 1 mm.

    Parameters
    ----------
    t1 : Image
        T1 intensities without skull, scaled to [0, 1].
    grey_matter, white_matter : Image
        Tissue maps, scaled to [0, 1].
    brain : LabelImage
        Brain mask: parenchyma and ventricles.
    """

    t1: Image
    grey_matter: Image
    white_matter: Image
    brain: LabelImage


@cache
def load_template() -> Template:
    """Read the template once per process.

    The brain mask is the T1 above zero, with holes filled.

    Returns
    -------
    Template

    Examples
    --------
    >>> load_template().t1.grid.describe()
    '197 x 233 x 189 voxels of 1.00 x 1.00 x 1.00 mm, RAS'
    """
    t1, grey_matter, white_matter = (_scaled_map(kind) for kind in ("t1", "gm", "wm"))
    brain = LabelImage(ndimage.binary_fill_holes(t1.data > 0), t1.grid)
    return Template(t1, grey_matter, white_matter, brain)


def _scaled_map(kind: str) -> Image:
    with packaged(f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz") as path:
        image = load_image(path)
    return Image(image.data / np.max(image.data), image.grid)
