"""Make the images of this folder from the digital reference trial: ``PYTHONPATH=. python test_images/make.py``.

One visit of the active subject, 2D slices of 3 mm: FLAIR, T1 before and after contrast and T2, stored in 8 bits, and
the true masks on the grid of the FLAIR. The images are simulated and contain no scan of a person.
"""

from pathlib import Path

import numpy as np

from benchmarks.registration.labels import resample_labels
from mri_pipeline.core.io import nifti
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.designs import active_subject
from mri_pipeline.phantom.subject import simulate_subject, simulate_visit, truth_masks

SEED, VISIT = 20, "wk04"
FOLDER = Path(__file__).parent


def quantised(image: Image) -> LabelImage:
    """Quantise to 8 bits from 0 to the 99.9th percentile, to keep the files small."""
    top = np.percentile(image.data, 99.9)
    return LabelImage(np.rint(np.clip(image.data / top, 0, 1) * 255).astype(np.uint8), image.grid)


def main() -> None:
    """Write the images and masks."""
    design = active_subject()
    subject = simulate_subject(SEED, plans=design.plans)
    scan = simulate_visit(subject, VISIT, scanner=design.scanner)
    for contrast, image in scan.images.items():
        nifti.save(quantised(image), FOLDER / f"sub-phantom_ses-{VISIT}_{contrast.value}.nii.gz")
    flair = scan.images[Contrast.FLAIR].grid
    pose = scan.subject_to_scanner[Contrast.FLAIR]
    for name, mask in truth_masks(subject, VISIT).items():
        nifti.save(resample_labels(mask, flair, pose), FOLDER / f"sub-phantom_ses-{VISIT}_truth-{name}.nii.gz")


if __name__ == "__main__":
    main()
