"""Comparison of our registration with other tools on the same scans.

Usage::

    python benchmarks/registration/against.py prepare DATA FOLDER [--motions N]
    rivals/bin/python benchmarks/registration/rivals.py FOLDER/jobs.json FOLDER/results.json
    python benchmarks/registration/against.py compare FOLDER [--simulated RESULTS.jsonl]

- *real*: pairs with the authors' transforms.
- *unmoved*: FLAIR and the other contrasts of `cross_sectional_mni`, as published.
- *simulated*: motions of `simulated.py`.

All tools get the mask that ours uses: the brain, 3 mm wider between different contrasts. The error is the mean distance
over the brain to the authors' transform or to the simulated motion. *Shift* is the displacement of the centre of the
brain in the axes of the head. *To the tools' mean* is the distance to the mean result of the other tools, without ours,
on the unmoved pair; for simulated motions it is composed with the motion.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from heads import brain_mask, reference_pairs
from scipy import ndimage
from simulated import CONTRASTS, PATIENTS, Trial, brain, published_trials, scan

from mri_pipeline.core.io.nifti import load_image, load_labels, save
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.images.midway import mean_affine
from mri_pipeline.images.register import RegisterSettings, register_rigid

TOOLS = ("SimpleITK", "greedy", "elastix", "ANTs")


def pairs(data: Path, motions: int) -> Iterator[tuple[str, Trial]]:
    """All pairs to be registered, the unmoved pairs first."""
    here = Affine.identity()
    for patient in PATIENTS:
        flair = scan(data, patient, "FLAIR")
        for contrast in CONTRASTS[1:]:
            other = scan(data, patient, contrast)
            yield "unmoved", Trial(patient, contrast, False, flair, other, brain(flair), here, here)
    for number in range(motions):
        for trial in published_trials(data, number):
            yield "simulated", trial
    for pair in reference_pairs(data):
        head, contrast = pair.name.replace(",", "").split()[:2]
        fixed, moving, way = load_image(pair.fixed), load_image(pair.moving), pair.truth.inverse()
        yield "real", Trial(head, contrast, pair.intra_modal, fixed, moving, brain_mask(pair.fixed), here, way)


def region(trial: Trial) -> LabelImage:
    """Mask of our registration: the brain, wider between different contrasts."""
    if trial.same:
        return trial.mask
    far = ndimage.distance_transform_edt(~trial.mask.mask, sampling=trial.mask.grid.spacing_mm)
    return LabelImage(far <= RegisterSettings().margin_across_mm, trial.mask.grid)


def prepare(data: Path, folder: Path, motions: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for number, (kind, trial) in enumerate(pairs(data, motions)):
        images: dict[str, Image | LabelImage] = {
            "fixed": trial.fixed,
            "moving": trial.moving,
            "mask": region(trial),
            "brain": trial.mask,
        }
        files = {name: str(save(image, folder / f"{number}_{name}.nii.gz")) for name, image in images.items()}
        start = time.process_time()
        ours = register_rigid(trial.fixed, trial.moving, intra_modal=trial.same, fixed_mask=trial.mask)
        jobs.append(
            files
            | {
                "name": str(number),
                "kind": kind,
                "head": trial.head,
                "contrast": trial.contrast,
                "tools": TOOLS,
                "to_fixed": trial.to_fixed.matrix.tolist(),
                "to_moving": trial.to_moving.matrix.tolist(),
                "ours": ours.moving_to_fixed.inverse().matrix.tolist(),
                "cpu_s": time.process_time() - start,
            }
        )
        (folder / "jobs.json").write_text(json.dumps(jobs))


def beside_truth(job: dict[str, Any], matrix: list[list[float]]) -> Affine:
    """Result (fixed to moving) relative to the true position of the head; the identity if correct."""
    to_fixed, to_moving = (Affine(np.array(job[name])) for name in ("to_fixed", "to_moving"))
    return to_moving.inverse() @ Affine(np.array(matrix)) @ to_fixed


def consensus(jobs: dict[str, dict[str, Any]], results: list[dict[str, Any]]) -> dict[tuple[str, str], Affine]:
    """Mean result of the other tools on each unmoved pair."""
    found: dict[tuple[str, str], list[Affine]] = {}
    for result in results:
        job = jobs[result["name"]]
        if job["kind"] == "unmoved" and "matrix" in result:
            found.setdefault((job["head"], job["contrast"]), []).append(beside_truth(job, result["matrix"]))
    return {pair: mean_affine(ways) for pair, ways in found.items()}


def compared(
    job: dict[str, Any], matrix: list[list[float]], agreed: Affine | None
) -> tuple[float, float, np.ndarray]:
    """Error (mm), distance to the mean of the other tools (mm), and shift of the centre (mm)."""
    mask = load_labels(job["brain"])
    points = mask.grid.world(np.argwhere(mask.mask)[::97].astype(float))
    points = Affine(np.array(job["to_fixed"])).inverse().points(points)
    answer = beside_truth(job, matrix).points(points)
    moves, apart = (
        np.linalg.norm(answer - at, axis=1).mean() for at in (points, (agreed or Affine.identity()).points(points))
    )
    return float(moves), float(apart), (answer - points).mean(axis=0)


def compare(folder: Path) -> None:
    jobs = {job["name"]: job for job in json.loads((folder / "jobs.json").read_text())}
    results = json.loads((folder / "results.json").read_text())
    agreed = consensus(jobs, results)
    answers = [{"name": n, "tool": "ours", "matrix": j["ours"], "cpu_s": j["cpu_s"]} for n, j in jobs.items()]
    print(
        "| pair | head | moving | tool | number (failed) | mm: median, maximum | to the tools' mean | shift | CPU s |"
    )
    print("| --- " * 9 + "|")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for answer in answers + results:
        job = jobs[answer["name"]]
        groups.setdefault((job["kind"], job["head"], job["contrast"], answer["tool"]), []).append(answer)
    for group, of in sorted(groups.items()):
        truth = agreed.get(group[1:3])
        found = [compared(jobs[a["name"]], a["matrix"], truth) for a in of if "matrix" in a]
        spread = [
            f"{np.median(values):.2f}, {max(values):.2f}" if values else ""
            for values in ([f[column] for f in found] for column in (0, 1))
        ]
        shift = ", ".join(f"{x:+.2f}" for x in np.mean([f[2] for f in found], axis=0)) if found else ""
        cells = f"{len(of)} ({len(of) - len(found)}) | {spread[0]} | {spread[1] if truth else ''} | {shift}"
        print(f"| {' | '.join(group)} | {cells} | {np.median([a['cpu_s'] for a in of]):.1f} |")


def centre_errors(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Print, for motions of `simulated.py`, the distance of the brain's centre to the mean of the other tools."""
    jobs = {job["name"]: job for job in json.loads((folder / "jobs.json").read_text())}
    agreed = consensus(jobs, json.loads((folder / "results.json").read_text()))
    shifts = {}
    for job in jobs.values():
        if job["kind"] == "unmoved":
            mask = load_labels(job["brain"])
            centre = mask.grid.world(np.argwhere(mask.mask)[::97].astype(float)).mean(axis=0)[None]
            pair = job["head"], job["contrast"]
            shifts[pair] = (agreed[pair].points(centre) - centre)[0]
    print("\n| moving | motions | centre, mm to the tools' mean: mean, maximum |")
    print("| --- | --- | --- |")
    for contrast in CONTRASTS[1:]:
        of = [r for r in rows if r["contrast"] == contrast]
        error = [np.linalg.norm(np.array(r["shift_mm"]) - shifts[r["head"], contrast]) for r in of]
        print(f"| {contrast} | {len(of)} | {np.mean(error):.2f}, {max(error):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("prepare")
    making.add_argument("data", type=Path)
    making.add_argument("folder", type=Path)
    making.add_argument("--motions", type=int, default=4)
    comparing = commands.add_parser("compare")
    comparing.add_argument("folder", type=Path)
    comparing.add_argument("--simulated", type=Path, help="results of simulated.py")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.data, arguments.folder, arguments.motions)
    else:
        compare(arguments.folder)
        if arguments.simulated:
            rows = arguments.simulated.read_text().splitlines()
            centre_errors(arguments.folder, [json.loads(row) for row in rows])


if __name__ == "__main__":
    main()
