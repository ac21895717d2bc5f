"""The ICBM 2009a nonlinear symmetric template that nilearn ships: T1, grey and white matter, skull-stripped.

Fonov et al., NeuroImage 2009, S102; McConnell Brain Imaging Centre, MNI: free to use with its notice.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import nibabel as nib
import numpy as np
from scipy import ndimage

from mri_pipeline.core.spatial import Grid, Image, LabelImage


@dataclass(frozen=True)
class Template:
    """The template at 1 mm: `t1`, `grey_matter` and `white_matter` scaled to [0, 1], and the `brain` mask."""

    t1: Image
    grey_matter: Image
    white_matter: Image
    brain: LabelImage


@cache
def load_template() -> Template:
    """Read the template; the brain mask is the filled, skull-stripped T1 (parenchyma and ventricles)."""
    folder = files("nilearn.datasets.data")
    images = {}
    for kind in ("t1", "gm", "wm"):
        with as_file(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz") as path:
            nifti = nib.load(path)
            data = np.asarray(nifti.dataobj, dtype=np.float32)
            images[kind] = Image(data / data.max(), Grid(data.shape, nifti.affine))
    brain = ndimage.binary_fill_holes(images["t1"].data > 0)
    return Template(images["t1"], images["gm"], images["wm"], LabelImage(brain, images["t1"].grid))
