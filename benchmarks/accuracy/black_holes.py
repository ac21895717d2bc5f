"""Black holes of real scans: volumes and their sensitivity to intensity.

    python benchmarks/accuracy/black_holes.py DATA [--cases ljubljana-19 ...]

The public data hold no reference for black holes. The script prints the volumes of T1-hypointense lesions, black holes
and severe black holes. It prints their change if lesions are 3 % darker or 3 % brighter than everything else (equal to
a change of every limit in the other direction), under a smooth field of 5 %, and with T1 after contrast in place of T1
before contrast.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from published import Analysed, analyse, cases, learned, load_case

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import FloatArray, Image
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.black_holes import hypointense, segment_black_holes, severe

RULES = LesionRules()


def darker(found: Analysed, factor: FloatArray) -> VisitImages:
    """Multiply T1 of a visit by a factor (one value for each voxel)."""
    t1 = found.visit.contrasts[Contrast.T1W]
    image = Image((t1.data * factor).astype(np.float32), t1.grid)
    return replace(found.visit, contrasts={**found.visit.contrasts, Contrast.T1W: image})


def volumes_ml(found: Analysed, visit: VisitImages) -> FloatArray:
    """Volumes (mL) of T1-hypointense lesions, black holes and severe black holes.

    T1 is taken from `visit`: after contrast if it has no T1 before contrast.
    """
    gel = found.enhancing.mask if found.enhancing else None
    t2 = found.t2_lesions.mask
    dark = segment_black_holes(visit, found.tissue, t2, gel, RULES)
    wide = hypointense(dark.t1_hypointensity, t2, gel, dark.black_holes, RULES)
    return np.array(
        [m.volume_mm3 / 1000 for m in (wide, dark.black_holes, severe(dark.t1_hypointensity, dark.black_holes))]
    )


def field(shape: tuple[int, ...], size: float) -> FloatArray:
    """Smooth field from 1 - size to 1 + size along the diagonal of the volume."""
    ramp = sum(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True))
    return np.asarray(1.0 + size * ramp / 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    made = learned(arguments.data, arguments.models)
    for name, (folder, mask, left_out) in cases(arguments.data).items():
        if arguments.cases and name not in arguments.cases:
            continue
        found = analyse(load_case(folder, mask)[0], made[left_out])
        base = volumes_ml(found, found.visit)
        print(f"{name}: T2 {found.t2_lesions.mask.volume_mm3 / 1000:.2f} mL, ", end="")
        print("hypointense {:.2f}, black holes {:.2f}, severe {:.2f} mL".format(*base))
        lesions = found.t2_lesions.mask.mask
        changed = {
            "lesions 3 % darker": darker(found, np.where(lesions, 0.97, 1.0)),
            "lesions 3 % brighter": darker(found, np.where(lesions, 1.03, 1.0)),
            "field of 5 %": darker(found, field(lesions.shape, 0.05)),
        }
        if Contrast.T1W_GD in found.visit.contrasts:
            others = {c: image for c, image in found.visit.contrasts.items() if c is not Contrast.T1W}
            changed["T1 after contrast"] = replace(found.visit, contrasts=others)
        for words, visit in changed.items():
            change = [
                f"{100 * (new / old - 1):+.0f} %" if old else "-"
                for new, old in zip(volumes_ml(found, visit), base, strict=True)
            ]
            print(f"  {words}: " + "  ".join(change))


if __name__ == "__main__":
    main()
