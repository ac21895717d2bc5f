"""A test segmenter: it thresholds the image, and fails in the ways that real programs do."""

import sys
from pathlib import Path

from mri_pipeline.core.segmenters import Segmenter

SCRIPT = """
import sys, time
import nibabel as nib
import numpy as np

how, flair, brain, out = sys.argv[1:5]
print("patient JOHN DOE", flush=True)
if how == "fails":
    sys.exit(3)
if how == "sleeps":
    time.sleep(60)
image = nib.load(flair)
data, affine = np.asarray(image.dataobj), image.affine.copy()
found = ((data > 1300) & (np.asarray(nib.load(brain).dataobj) > 0)).astype(np.float32)
if how == "probability":
    found = np.clip(data / 3000, 0, 1).astype(np.float32)
elif how == "empty":
    found[:] = 0
elif how == "everything":
    found[:] = 1
elif how == "labels":
    found *= 99
elif how == "outside":
    found = (data <= 0).astype(np.float32)
elif how == "moved":
    affine[0, 3] += 5
elif how == "cropped":
    found = found[1:]
elif how == "text":
    open(out, "w").write("no image")
if how not in ("nothing", "text"):
    nib.save(nib.Nifti1Image(found, affine), out)
"""


def stand_in(folder: Path, how: str = "masks", *, more: tuple[str, ...] = (), **settings: object) -> Segmenter:
    """The settings that run the program; `how` says what it does, `more` are further arguments."""
    script = folder / "stand_in.py"
    script.write_text(SCRIPT)
    command = (sys.executable, str(script), how, "{flair}", "{brain}", "{mask}", *more)
    return Segmenter.model_validate({"name": "stand-in", "version": "1.2", "command": command} | settings)
