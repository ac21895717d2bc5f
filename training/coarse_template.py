"""Make ``mri_pipeline/data/mni_icbm152_coarse.npz``: block means of the template for registration and quality measures.

Usage::

    python training/coarse_template.py [--out FILE]
"""

import argparse
from pathlib import Path

import numpy as np

from mri_pipeline.core.io.packaged import packaged
from mri_pipeline.core.io.template import COARSE_FILE, COARSE_MAPS, load_template
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.images.sampling import downsample


def coarse_maps() -> dict[str, np.ndarray]:
    """All maps of `COARSE_MAPS`, computed from the template at 1 mm."""
    made = {}
    for name, block_mm in COARSE_MAPS:
        full = getattr(load_template(), name)
        image = Image(full.mask.astype(np.float32), full.grid) if isinstance(full, LabelImage) else full
        made[f"{name}_{block_mm}mm"] = downsample(image, block_mm).data
    return made


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    with packaged(COARSE_FILE) as path:
        np.savez_compressed(out or path, **coarse_maps())


if __name__ == "__main__":
    main()
