"""The measures of `qc.field_measures` against the functions of MRIQC, with the same voxels.

Usage: ``python benchmarks/quality/compare_mriqc.py DATA benchmarks/quality/mriqc.json`` with the shared data, in an
environment with this project and MRIQC: ``pip install . nipype nilearn statsmodels scikit-learn templateflow toml migas
pybids seaborn svgutils`` and ``pip install --no-deps mriqc==24.0.2 nireports==24.0.3`` (its functions work with numpy
2).

The file holds the values of MRIQC in a synthetic image, with which a unit test compares ours, and the largest relative
difference over the real scans. The tissue of a real scan is that of the template at the nearest voxels, its air every
n-th voxel outside of the head, so that MRIQC draws no random sample. The FWHM of MRIQC is AFNI's and not compared.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.spatial import BoolArray
from qc import field_measures

MOST_AIR = 10_000
"""The fit of QI2 takes minutes with more voxels."""
MASKS = ("head", "white", "grey", "air", "artefact")


def synthetic() -> tuple[NDArray[np.float32], dict[str, BoolArray]]:
    """A head with white and grey matter, magnitude noise and a ghost in the air, and its masks."""
    draw = np.random.default_rng(20)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (64, 72, 20)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + (z / 2) ** 2)
    masks = {"head": radius < 0.7, "white": radius < 0.35, "grey": (radius > 0.4) & (radius < 0.55)}
    ghost = np.roll(masks["head"], 36, axis=1) & (radius > 0.75) & (z > 0)
    signal = 300.0 * masks["head"] + 500.0 * masks["white"] + 250.0 * masks["grey"] + 60.0 * ghost
    signal *= 1 + 0.15 * x
    noise = draw.normal(0, 12, (2, *signal.shape))
    data = np.rint(np.hypot(signal + noise[0], noise[1])).astype(np.float32)
    return data, masks | {"air": (radius > 0.75) & ~ghost, "artefact": ghost}


def ours(data: NDArray[np.float32], masks: dict[str, BoolArray]) -> dict[str, float | None]:
    """The values of this project."""
    head, white, grey, air, artefact = (masks[name] for name in MASKS)
    field = field_measures.inu(data[head])
    return {
        "cjv": field_measures.cjv(data[white], data[grey]),
        "efc": field_measures.efc(data),
        "fber": field_measures.fber(data[head], data[~head]),
        "wm2max": field_measures.wm2max(data, data[white]),
        "qi1": field_measures.qi1(int(artefact.sum()), int(air.sum())),
        "qi2": field_measures.qi2(data[air]),
        "snr_dietrich": field_measures.snr_dietrich(data[white], data[air]),
        "inu_range": None if field is None else field[0],
        "inu_median": None if field is None else field[1],
    }


def theirs(data: NDArray[np.float32], masks: dict[str, BoolArray]) -> dict[str, float | None]:
    """The values of MRIQC; None where it gives -1, and for QI2 0, for what it cannot compute."""
    from mriqc.qc import anatomical as mriqc  # noqa: PLC0415 (not in the environment of the project)

    mriqc.config.loggers.interface = logging.getLogger("mriqc")  # None until MRIQC itself runs
    exact, image = 12, data.astype(float)
    white, grey, air = (_statistics(mriqc, image[masks[name]]) for name in ("white", "grey", "air"))
    with tempfile.TemporaryDirectory() as folder:
        back = Path.cwd()
        os.chdir(folder)  # it writes an empty figure
        qi2, _ = mriqc.art_qi2(image, masks["air"], save_plot=False)
        os.chdir(back)
    found = {
        "cjv": mriqc.cjv(white["median"], grey["median"], white["mad"], grey["mad"]),
        "efc": mriqc.efc(image, decimals=exact),
        "fber": mriqc.fber(image, masks["head"], decimals=exact),
        "wm2max": mriqc.wm2max(image, white["median"]),
        "qi1": mriqc.art_qi1(masks["air"], masks["artefact"]),
        "qi2": qi2 or None,
        "snr_dietrich": mriqc.snr_dietrich(white["median"], air["mad"], air["stdv"]),
        # the statistics of `mriqc.interfaces.anatomical.StructuralQC`, which has no function for them
        "inu_range": float(np.abs(np.subtract(*np.percentile(image[masks["head"]], [95, 5])))),
        "inu_median": float(np.median(image[masks["head"]])),
    }
    return {name: None if value == -1 else value for name, value in found.items()}


def _statistics(mriqc: ModuleType, values: NDArray[np.float64]) -> dict[str, float]:
    """Its statistics of the voxels of one mask, without its rounding."""
    exact = {"rprec_data": 12, "rprec_prob": 12, "decimals": 12}
    found: dict[str, float] = mriqc.summary_stats(values, {"mask": np.ones(values.shape)}, **exact)["mask"]
    return found


def real(data: Path) -> dict[str, dict[str, float]]:
    """Number of real scans in which each measure exists, and the largest relative difference."""
    from run import visits  # noqa: PLC0415 (a script of this folder)

    from mri_pipeline.core.io.nifti import load_image  # noqa: PLC0415
    from mri_pipeline.core.io.template import load_template  # noqa: PLC0415
    from mri_pipeline.core.visits import Contrast  # noqa: PLC0415
    from qc.field_scan import nearest  # noqa: PLC0415
    from qc.head import head_mask  # noqa: PLC0415
    from qc.placement import brain_points, place_brain  # noqa: PLC0415

    known = brain_points(load_template())
    differences: dict[str, list[float]] = defaultdict(list)
    for name, paths in visits(data):
        placement = place_brain(load_image(paths[Contrast.FLAIR]).reoriented("RAS"), load_template())
        index_mm = placement.template_to_world.points(known.points_mm)
        for contrast, path in paths.items():
            image = load_image(path).reoriented("RAS")
            masks = {"head": head_mask(image)} | {m: np.zeros(image.grid.shape, bool) for m in MASKS[1:]}
            index, inside = nearest(image.grid, index_mm)
            for tissue, points in (("white", known.white), ("grey", known.grey)):
                masks[tissue][tuple(index[points[inside]].T)] = True
            outside = np.flatnonzero(~masks["head"])
            masks["air"].flat[outside[:: -(-outside.size // MOST_AIR)]] = True
            masks["artefact"] = (image.data > 100) & ~masks["head"] & ~masks["air"]
            here, there = ours(image.data, masks), theirs(image.data, masks)
            for measure, value in here.items():
                other = there[measure]
                if (value is None) != (other is None):
                    raise SystemExit(f"{name} {contrast.value} {measure}: {value} here, {other} in MRIQC")
                if value is not None and other is not None:
                    differences[measure].append(abs(value - other) / max(abs(other), 1e-9))
            print(name, contrast.value, {k: v and round(v, 4) for k, v in here.items()}, flush=True)
    return {
        m: {"scans": len(found), "largest relative difference": max(found)} for m, found in differences.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("values", type=Path)
    arguments = parser.parse_args()
    content = {"mriqc": "24.0.2", "synthetic": theirs(*synthetic()), "real": real(arguments.data)}
    arguments.values.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
