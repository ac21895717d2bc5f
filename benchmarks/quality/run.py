"""Artefacts in real scans: which of them are found by the limits of image quality, and what untouched scans trigger.

Usage: ``python benchmarks/quality/run.py DATA VALUES.csv`` measures, and appends to the file scan after scan; scans
that it holds are skipped, and none is begun after ``--minutes``. ``python benchmarks/quality/run.py --report
VALUES.csv`` writes the tables of README.md.

DATA holds the 20 clinical 2D scans with skull (1.5 T, ``ljubljana/longitudinal`` and ``unlabelled``) and 16 scans of
1 mm without skull, in MNI space (3 T, ``ljubljana/cross_sectional_mni``; 1.5 T, ``mslesseg``). Artefacts are put into
every scan, those of slices into the 2D scans. An artefact is measured by the group of measures that is made for it. It
is found if one of their limits is violated that the untouched scan meets.

Two sets of limits: the defaults of ``trial.toml``, which were set with all of these scans; and limits of one half of
the patients (the worst untouched value with a margin, `MARGINS`), reported on the other half, both ways.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import numpy as np
from artefacts import ARTEFACTS, LEVELS, Scan
from scipy import ndimage

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.quality_limits import ImageLimits
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.enhancement import Enhancement, compare_t1
from qc.head import head_mask
from qc.measures import ImageMeasures, measure, measure_visit
from qc.placement import Placement, brain_points, measure_brain, place_brain
from qc.planes import slices_first
from qc.quality_rules import BRAIN_RULES, CONTENT_RULES, FLAIR_RULES, RULES, SIGNAL_RULES, SLICE_RULES, QualityRule
from qc.slices.measures import measure_slices
from qc.slices.stack import slice_stack

FIELDS = ("scan", "contrast", "artefact", "level", "rule", "setting", "value")
CONTRASTS = {
    "FLAIR": Contrast.FLAIR, "T1W": Contrast.T1W, "T2W": Contrast.T2W, "T1": Contrast.T1W, "T2": Contrast.T2W,
    "T1POST": Contrast.T1W_GD,
}  # fmt: skip
TIMING = "max_not_as_named"
"""1 if the images contradict the names of the two T1, else 0."""
MARGINS = {
    "bias": 1.5, "spike": 2.5, "line": 1.5, "sharpness": 1.3, "slice_displacement": 1.5, "interleave": 1.5,
    "slice_step": 3.0, "alternation": 3.0, "doubled_slice": 1.5, "fluid_signal": 1.5, "motion_left_right": 1.2,
    "motion_front_back": 1.4,
}  # fmt: skip
"""Factor from the worst untouched value of a half to its limit, for the rules whose limits can be those of untouched
scans. The others are 0 in good scans, or have another source. Steps between slices, and odd against even slices, differ
most between good scans: a half of few scans does not show the largest."""


def visits(data: Path) -> Iterator[tuple[str, dict[Contrast, Path]]]:
    """The scans of each visit: 2D with skull first, then 1 mm without skull."""
    found: dict[str, dict[Contrast, Path]] = defaultdict(dict)
    for folder in ("longitudinal", "unlabelled"):
        for path in sorted((data / "ljubljana" / folder).glob("patient*/study*_*.nii.gz")):
            study, name = path.name.removesuffix(".nii.gz").split("_", 1)
            if name in CONTRASTS:
                found[f"{path.parent.name}-{study}"][CONTRASTS[name]] = path
    yield from sorted(found.items())
    for visit in sorted(data.glob("ljubljana/cross_sectional_mni/patient*")) + sorted(data.glob("mslesseg/*/T*")):
        files = {CONTRASTS[n]: p for n in CONTRASTS if (p := visit / f"{n}.nii.gz").exists()}
        patient = visit.name.replace("patient", "mni") if "mni" in visit.parent.name else visit.parent.name
        yield f"{patient}-{visit.name}", files


def scan_of(image: Image, values: ImageMeasures, placement: Placement, seed: int) -> Scan:
    """What the artefacts need of an untouched scan."""
    points = placement.template_to_world.points(brain_points(load_template()).points_mm)
    heights = (points - image.grid.affine[:3, 3]) @ np.linalg.inv(image.grid.affine[:3, :3]).T[:, 2]
    spacing, depth = image.grid.spacing_mm[2], image.grid.shape[2]
    centre = placement.template_to_world.points(np.array([[28.0, -10.0, 28.0]]))[0]
    index = np.rint(np.linalg.inv(image.grid.affine) @ [*centre, 1.0])[:3].astype(int)
    return Scan(
        image,
        head_mask(image),
        signal=values.noise * (values.snr or 0),
        noise=values.noise,
        brain_top_mm=(depth - 0.5 - float(heights.max())) * spacing,
        brain_bottom_mm=(float(heights.min()) + 0.5) * spacing,
        centre=(int(index[0]), int(index[1]), int(index[2])),
        rng=np.random.default_rng(seed),
    )


def every_second(scan: Scan) -> Scan:
    """Half of the slices: enough for noise, ghosts and the field of view."""
    data = np.ascontiguousarray(scan.image.data[..., ::2])
    affine = scan.image.grid.affine @ np.diag([1.0, 1.0, 2.0, 1.0])
    centre = (*scan.centre[:2], scan.centre[2] // 2)
    return replace(scan, image=Image(data, Grid(data.shape, affine)), head=scan.head[..., ::2], centre=centre)


def measured(
    group: str, image: Image, contrast: Contrast, usual: ImageMeasures, placement: Placement
) -> tuple[ImageMeasures, Sequence[QualityRule]]:
    """The measures of one group, and its rules."""
    if group == "slices":
        inside = np.ascontiguousarray(np.moveaxis(head_mask(image), image.grid.slice_axis, 0))
        stack = slice_stack(slices_first(image), inside)
        return replace(usual, slices=None if stack is None else measure_slices(stack)), SLICE_RULES
    if group == "brain":
        if contrast is Contrast.FLAIR and image.grid.shape[2] != len(usual.slice_digests):  # the place may differ
            placement = place_brain(image, load_template())
        brain = measure_brain(image, placement, load_template())
        return replace(usual, brain=brain, placement=placement), (*BRAIN_RULES, *FLAIR_RULES)
    return measure(image, contrast), SIGNAL_RULES


def rows_of(
    name: str, contrast: Contrast, case: tuple[str, str], values: ImageMeasures, rules: Sequence[QualityRule]
) -> Iterator[dict[str, object]]:
    """One row for each rule that concerns the contrast and could be measured."""
    for rule in rules:
        finding = rule.judge(contrast, values, ImageLimits())
        if finding is not None and finding.measured is not None:
            yield dict(
                zip(
                    FIELDS,
                    (name, contrast.value, *case, rule.name, rule.setting, round(finding.measured, 4)),
                    strict=True,
                )
            )


def bottle(image: Image) -> Image:
    """A cylinder of water with shading and noise on the grid of a scan."""
    x, y, z = (
        (np.arange(n) - n / 2).reshape([-1 if a == k else 1 for a in range(3)]) * s
        for k, (n, s) in enumerate(zip(image.grid.shape, image.grid.spacing_mm, strict=True))
    )
    draw = np.random.default_rng(5)
    object_ = np.where((x / 70) ** 2 + (y / 80) ** 2 + 0 * z < 1, 300 * (1 + 0.2 * np.cos(x / 60)), 0)
    return Image(np.hypot(object_ + draw.normal(0, 8, object_.shape), 8.0).astype(np.float32), image.grid)


def slab(image: Image, first: float, last: float) -> Image:
    """Slices between two heights relative to the middle of the scan, in mm."""
    middle, spacing = image.grid.shape[2] / 2, image.grid.spacing_mm[2]
    low, high = max(0, round(middle + first / spacing)), round(middle + last / spacing)
    affine = image.grid.affine.copy()
    affine[:3, 3] = image.grid.world(np.array([0.0, 0.0, low]))
    data = np.ascontiguousarray(image.data[..., low:high])
    return Image(data, Grid(data.shape, affine))


def of_noise(image: Image) -> Image:
    draw = np.random.default_rng(4)
    shape = image.grid.shape
    return Image(np.hypot(draw.normal(0, 50, shape), draw.normal(0, 50, shape)).astype(np.float32), image.grid)


def constant(image: Image) -> Image:
    return Image(np.full(image.grid.shape, 100, np.float32), image.grid)


def upside_down(image: Image) -> Image:
    return Image(np.ascontiguousarray(image.data[..., ::-1]), image.grid)


UNUSABLE: Mapping[str, Callable[[Image], Image]] = {
    "noise alone": of_noise,
    "bottle": bottle,
    "constant": constant,
    "slab of 30 mm": lambda image: slab(image, -15, 15),
    "upper half of the head": lambda image: slab(image, 20, 999),
    "upside down": upside_down,
}
"""FLAIR that no analysis can use."""


def cases(
    name: str, paths: Mapping[Contrast, Path], turn: int, levels: Sequence[str], done: AbstractSet[tuple[str, str]]
) -> Iterator[list[dict[str, object]]]:
    """The rows of each scan of a visit that is not done; unusable FLAIR at every fourth visit."""
    if all((name, contrast.value) in done for contrast in paths):
        return
    images = {contrast: load_image(path).reoriented("RAS") for contrast, path in paths.items()}
    usual = measure_visit(images, {contrast: contrast for contrast in images})
    placement = usual[Contrast.FLAIR].placement
    if placement is None:
        raise SystemExit(f"{name}: no brain was located")
    for contrast, image in images.items():
        if (name, contrast.value) in done:
            continue
        rows = list(rows_of(name, contrast, ("untouched", ""), usual[contrast], RULES))
        for other in images.keys() - {contrast}:
            found = replace(usual[contrast], brain=measure_brain(images[other], placement, load_template()))
            case = (f"{other.value} as {contrast.value}", "severe")
            rows += rows_of(name, contrast, case, found, BRAIN_RULES)
        if contrast is Contrast.T1W_GD:
            rows += list(timing(name, images[Contrast.T1W], image))
        rows += artefacts_in(name, contrast, image, usual[contrast], placement, levels=levels)
        for kind, make in UNUSABLE.items() if levels and turn % 4 == 3 and contrast is Contrast.FLAIR else ():
            values = measure_visit({contrast: make(image)}, {contrast: contrast})
            rules = (*CONTENT_RULES, *FLAIR_RULES, *BRAIN_RULES)
            rows += rows_of(name, contrast, (kind, "severe"), values[contrast], rules)
        yield rows


def artefacts_in(
    name: str,
    contrast: Contrast,
    image: Image,
    usual: ImageMeasures,
    placement: Placement,
    *,
    levels: Sequence[str],
) -> Iterator[dict[str, object]]:
    """All artefacts in one scan; those of slices in a 2D scan alone."""
    scan = scan_of(image, usual, placement, seed=len(name))
    half = every_second(scan)
    for artefact in ARTEFACTS:
        if artefact.group == "slices" and usual.slices is None:
            continue
        for level, value in zip(LEVELS, artefact.values, strict=True):
            if level in levels:
                changed = artefact.make(half if artefact.group == "signal" else scan, value)
                found, rules = measured(artefact.group, changed, contrast, usual, placement)
                yield from rows_of(name, contrast, (artefact.name, level), found, rules)


def timing(name: str, before: Image, after: Image) -> Iterator[dict[str, object]]:
    """T1 before and after contrast: as they are, exchanged, and without contrast (the first one moved and rescaled)."""
    moved = Image(1.3 * ndimage.shift(before.data, (2.0, 1.0, 0.5), order=1), before.grid)
    for case, pair in (
        (("untouched", ""), (before, after)),
        (("T1 before and after contrast exchanged", "severe"), (after, before)),
        (("no contrast in the second T1", "severe"), (before, moved)),
    ):
        brain = LabelImage(pair[0].data > 0, before.grid)
        value = float(compare_t1(*pair, region=brain).enhancement is not Enhancement.PRESENT)
        contrast = Contrast.T1W_GD.value
        yield dict(zip(FIELDS, (name, contrast, *case, "enhancement", TIMING, value), strict=True))


def measure_all(data: Path, file: Path, levels: Sequence[str], minutes: float) -> None:
    """Measure the scans that the file lacks."""
    done = set()
    if file.exists():
        done = {(row["scan"], row["contrast"]) for row in csv.DictReader(file.open(encoding="utf-8"))}
    start = time.monotonic()
    for turn, (name, paths) in enumerate(visits(data)):
        for rows in cases(name, paths, turn, levels, done):
            new = not file.exists()
            with file.open("a", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, FIELDS)
                if new:
                    writer.writeheader()
                writer.writerows(rows)
            print(name, rows[0]["contrast"], len(rows), f"{time.monotonic() - start:.0f} s", flush=True)
            if time.monotonic() - start > 60 * minutes:
                return


def broken(value: float, setting: str, limit: float) -> bool:
    return value < limit if setting.startswith("min_") else value > limit


def limits_of(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The worst value of untouched scans with the margin."""
    limits: dict[str, float] = {}
    for row in rows:
        least, value = row["setting"].startswith("min_"), float(row["value"])
        margin = MARGINS[row["rule"]]
        limit = value * margin if least == (value < 0) else value / margin
        worst = limits.get(row["setting"], limit)
        limits[row["setting"]] = min(worst, limit) if least else max(worst, limit)
    return limits


def outcome(
    rows: Sequence[Mapping[str, str]], limits: Mapping[str, float]
) -> tuple[dict[tuple[str, str], tuple[int, int]], int, int]:
    """Found and all cases by artefact and level, and untouched scans with a violated limit, and all of them."""
    hits: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in rows:
        case = (row["scan"], row["contrast"], row["artefact"], row["level"])
        violated = broken(float(row["value"]), row["setting"], limits.get(row["setting"], float("nan")))
        hits[case] |= {row["rule"]} if violated else set()
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    usual = {case[:2]: rules for case, rules in hits.items() if case[2] == "untouched"}
    for case, rules in hits.items():
        if case[2] != "untouched":
            found, total = counted.get(case[2:], (0, 0))
            counted[case[2:]] = found + bool(rules - usual.get(case[:2], set())), total + 1
    return counted, sum(bool(rules) for rules in usual.values()), len(usual)


def halves(rows: Sequence[Mapping[str, str]]) -> Iterator[tuple[list[Mapping[str, str]], list[Mapping[str, str]]]]:
    """Patients of one half and of the other, both ways."""
    patients = sorted({row["scan"].split("-")[0] for row in rows})
    parts = [[r for r in rows if (patients.index(r["scan"].split("-")[0]) % 2 == k)] for k in (0, 1)]
    yield parts[0], parts[1]
    yield parts[1], parts[0]


def report(rows: Sequence[Mapping[str, str]]) -> str:
    """The tables of README.md."""
    defaults = {name: getattr(ImageLimits(), name).value for name in ImageLimits.model_fields} | {TIMING: 0.5}
    whole, false, scans = outcome(rows, defaults)
    rotated: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    rotated_false = 0
    for fitted, tested in halves(rows):
        # limits of content and coverage are no statistics of good scans
        limits = defaults | limits_of([r for r in fitted if r["artefact"] == "untouched" and r["rule"] in MARGINS])
        counted, wrong, _ = outcome(tested, limits)
        rotated_false += wrong
        for case, (found, total) in counted.items():
            rotated[case] = rotated[case][0] + found, rotated[case][1] + total
    lines = [
        "| artefact | severity | limits of trial.toml | limits of the other half |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {level} | {found} of {total} | {rotated[name, level][0]} of {rotated[name, level][1]} |"
        for (name, level), (found, total) in whole.items()
    ]
    for level in LEVELS:
        of = [whole[case] for case in whole if case[1] == level]
        other = [rotated[case] for case in whole if case[1] == level]
        if of:
            lines.append(f"| all | {level} | {_percent(of)} | {_percent(other)} |")
    lines.append(f"| untouched scans with a query | | {false} of {scans} | {rotated_false} of {scans} |")
    return "\n".join(lines)


def _percent(counts: Sequence[tuple[int, int]]) -> str:
    found, total = (sum(c[k] for c in counts) for k in (0, 1))
    return f"{found} of {total} ({100 * found / total:.0f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("values", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument(
        "--levels", nargs="*", default=LEVELS, help="none: untouched scans and exchanged contrasts alone"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no scan after this time")
    arguments = parser.parse_args()
    if arguments.report:
        print(report(list(csv.DictReader(arguments.values.open(encoding="utf-8")))))
    else:
        measure_all(arguments.data, arguments.values, arguments.levels, arguments.minutes)


if __name__ == "__main__":
    main()
