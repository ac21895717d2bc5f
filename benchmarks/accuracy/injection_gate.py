"""T2 lesions that a public test injects (bidsgate 0.3.0 from PyPI), by size.

Usage::

    python benchmarks/accuracy/injection_gate.py SHARED_DATA WORK [--tool PATH] [--models FOLDER]

``bidsgate inject-lesions`` puts twelve ellipsoids of 30 to 1500 mm³ into FLAIR (+60 %) and T1 (-20 %) of Ljubljana 07
and 19 and of MSLesSeg P14 at visit 2. Its settings are the default ones, but for the brain mask: the tool's own
estimate fails in 19 and P14 (144 and 2340 mL), so that all three heads have the mask of the program. Each head is
analysed from its FLAIR and T1 alone, with the model that leaves the patient out. A lesion is found if a found voxel
lies in it. Most of a lesion *in white matter* (at least half of it) is white matter in the tissue maps of the untouched
head: the tool places some lesions in grey matter. Install the tool in an environment of its own, and name its program
by ``--tool`` if it is not on the PATH.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from published import FILES, Learned, analyse, cases, learned, prepare

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.io.nifti import load_image, load_labels, save
from mri_pipeline.core.visits import Contrast

HEADS = {"07": "ljubljana-07", "19": "ljubljana-19", "P14": "P14-T2"}
SUFFIXES = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1w"}
SIZES_MM3 = ((0, 100), (100, 500), (500, 10_000))
IN_WHITE_MATTER = 0.5


def write_bids(data: Path, folder: Path) -> None:
    """Write FLAIR and T1 of each head as a BIDS dataset of links."""
    for label, case in HEADS.items():
        anat = folder / f"sub-{label}" / "anat"
        anat.mkdir(parents=True, exist_ok=True)
        for contrast, suffix in SUFFIXES.items():
            link = anat / f"sub-{label}_{suffix}.nii.gz"
            link.unlink(missing_ok=True)
            link.symlink_to((cases(data)[case][0] / f"{FILES[contrast]}.nii.gz").resolve())
    description = {"Name": "Heads for injected lesions", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))


def untouched_heads(data: Path, made: Mapping[str, Learned], masks: Path) -> dict[str, TissueMaps]:
    """Tissue maps of each head before the injection. Its brain mask is written to MASKS/sub-LABEL.nii.gz."""
    found = {}
    for label, case in HEADS.items():
        folder, _, left_out = cases(data)[case]
        images = {c: load_image(folder / f"{FILES[c]}.nii.gz") for c in SUFFIXES}
        visit, found[label] = prepare(images, made[left_out].prior)
        save(visit.brain, masks / f"sub-{label}.nii.gz")
    return found


def lesions_of(
    data: Path, injected: Path, made: Mapping[str, Learned], untouched: Mapping[str, TissueMaps]
) -> Iterator[dict[str, Any]]:
    """Each injected lesion: its head, volume, whether it lies in white matter, and whether it is found."""
    for label, case in HEADS.items():
        left_out = cases(data)[case][2]
        anat = injected / f"sub-{label}" / "anat"
        images = {c: load_image(anat / f"sub-{label}_{suffix}.nii.gz") for c, suffix in SUFFIXES.items()}
        found = analyse(images, made[left_out]).t2_lesions.mask
        truth = load_labels(anat / f"sub-{label}_desc-lesionTruth_mask.nii.gz")
        truth.grid.require_same(found.grid, "injected lesions")
        for number in np.unique(truth.data[truth.mask]):
            lesion = truth.data == number
            yield {
                "head": label,
                "volume_mm3": float(lesion.sum() * truth.grid.voxel_volume_mm3),
                "in_white_matter": bool(untouched[label].white_matter.data[lesion].mean() >= IN_WHITE_MATTER),
                "found": bool(found.mask[lesion].any()),
            }


def main() -> None:
    """Inject, analyse, and write one line of JSON for each lesion to WORK/lesions.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tool", default="bidsgate", help="program of bidsgate 0.3.0")
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    if shutil.which(arguments.tool) is None:
        parser.error(
            f"{arguments.tool}: not found. Install bidsgate 0.3.0 in an environment of its own and name it by --tool."
        )
    bids, injected, masks = (arguments.work / name for name in ("bids", "injected", "masks"))
    write_bids(arguments.data, bids)
    masks.mkdir(exist_ok=True)
    made = learned(arguments.data, arguments.models)
    untouched = untouched_heads(arguments.data, made, masks)
    mask_of = str(masks / "{subject}.nii.gz")
    subprocess.run(
        [arguments.tool, "inject-lesions", "--mask", mask_of, "--out", str(injected), str(bids)], check=True
    )
    rows = []
    with (arguments.work / "lesions.jsonl").open("w", encoding="utf-8") as file:
        for row in lesions_of(arguments.data, injected, made, untouched):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    for low, high in SIZES_MM3:
        of = [row for row in rows if low <= row["volume_mm3"] < high]
        white = [row for row in of if row["in_white_matter"]]
        print(
            f"{low} to {high} mm3: found {sum(row['found'] for row in of)} of {len(of)}, "
            f"in white matter {sum(row['found'] for row in white)} of {len(white)}"
        )


if __name__ == "__main__":
    main()
