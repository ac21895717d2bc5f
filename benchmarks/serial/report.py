"""Summary of the serial benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from designs import BANDS_MM
from scores import FOUND_SHARE

Line = Mapping[str, Any]
_COUNTS = (
    "gel_count",
    "gel_new_count",
    "gel_re_enhancing_count",
    "gel_persistent_count",
    "t2_count",
    "new_t2_count",
    "enlarging_t2_count",
    "new_or_enlarging_t2_count",
    "bh_count",
    "combined_unique_active_count",
)
_VOLUMES = ("t2_volume_ml", "gel_volume_ml", "bh_volume_ml", "bh_chronic_volume_ml")
LARGE_MM = 5.0
_LEAST_VOLUME_ML = 0.1  # relative errors of smaller volumes are not meaningful


def _visits(lines: Sequence[Line]) -> list[Line]:
    return [visit for line in lines for visit in line["visits"] if visit["status"] == "analysed"]


def _pairs(visits: Iterable[Line], column: str) -> np.ndarray:
    """Measured and true values, where both are known; shape (n, 2)."""
    cells = [(v["measured"][column], v["true"][column]) for v in visits]
    return np.array([c for c in cells if None not in c], dtype=float).reshape(-1, 2)


def _unknown_on_one_side(visits: Iterable[Line], column: str) -> int:
    cells = [(v["measured"][column], v["true"][column]) for v in visits]
    return sum((a is None) != (b is None) for a, b in cells)


def print_counts(visits: Sequence[Line]) -> None:
    """Bias, mean absolute error and share of exact visits of each count."""
    print(f"{'count':30s} visits  true mean   bias  absolute  exact")
    for name in _COUNTS:
        pairs = _pairs(visits, name)
        if not len(pairs):
            continue
        error = pairs[:, 0] - pairs[:, 1]
        exact = int((error == 0).sum())
        print(
            f"{name:30s} {len(pairs):6d} {pairs[:, 1].mean():10.2f} {error.mean():+6.2f} {np.abs(error).mean():9.2f}  "
            f"{exact}/{len(pairs)} = {100 * exact / len(pairs):.0f} %"
        )
        if unknown := _unknown_on_one_side(visits, name):
            print(f"{'':30s} {unknown} visits with a measured or a true value only")


def _smallest_active_mm(visit: Line) -> float:
    """T2 diameter (mm) of the smallest truly active lesion of a visit; infinity if there is none."""
    sizes = {x["number"]: x["diameter_mm"] for x in visit["lesions"]["t2"]["true"]}
    active = {
        x["number"] for kind in ("new", "enlarging", "gel") for x in visit["lesions"].get(kind, {}).get("true", [])
    }
    return min((sizes[n] for n in active), default=np.inf)


def print_combined(visits: Sequence[Line]) -> None:
    """Combined unique active lesions, for visits whose active lesions all have at least 5 mm and for the others."""
    compared = [v for v in visits if v["true"]["combined_unique_active_count"] is not None]
    for name, chosen in (
        ("all active lesions from 5 mm", [v for v in compared if _smallest_active_mm(v) >= LARGE_MM]),
        ("an active lesion of 3 to 5 mm", [v for v in compared if _smallest_active_mm(v) < LARGE_MM]),
    ):
        pairs = _pairs(chosen, "combined_unique_active_count")
        if len(pairs):
            exact = int((pairs[:, 0] == pairs[:, 1]).sum())
            print(f"combined unique, {name}: exact {exact}/{len(pairs)} = {100 * exact / len(pairs):.0f} %")


def print_volumes(visits: Sequence[Line]) -> None:
    """Relative error of each volume from 0.1 mL."""
    print("volume                         visits  bias  median absolute  maximum")
    for name in _VOLUMES:
        pairs = _pairs(visits, name)
        pairs = pairs[pairs[:, 1] >= _LEAST_VOLUME_ML]
        if len(pairs):
            error = 100 * (pairs[:, 0] / pairs[:, 1] - 1)
            size = np.abs(error)
            print(
                f"{name:30s} {len(pairs):6d} {error.mean():+5.1f} % {np.median(size):10.1f} % {size.max():10.1f} %"
            )


def band_figures(visits: Sequence[Line], kind: str, low: float, high: float) -> dict[str, float]:
    """Sensitivity by the size of true lesions, precision by the size of found lesions."""
    sides = {
        side: [
            x for v in visits for x in v["lesions"].get(kind, {}).get(side, []) if low <= x["diameter_mm"] < high
        ]
        for side in ("true", "found")
    }
    hits = {side: sum(x["share"] >= FOUND_SHARE for x in seen) for side, seen in sides.items()}
    sensitivity = hits["true"] / len(sides["true"]) if sides["true"] else np.nan
    precision = hits["found"] / len(sides["found"]) if sides["found"] else np.nan
    return {
        "true": len(sides["true"]), "hit": hits["true"], "found": len(sides["found"]), "right": hits["found"],
        "f1": 2 * sensitivity * precision / (sensitivity + precision) if sensitivity + precision else np.nan,
    }  # fmt: skip


def print_lesions(visits: Sequence[Line]) -> None:
    """Sensitivity, precision and F1 by kind and size."""
    print("lesions       diameter    sensitivity        precision          F1")
    for kind in ("new", "gel", "enlarging", "t2"):
        for low, high in (*BANDS_MM, (LARGE_MM, np.inf), (0.0, np.inf)):
            f = band_figures(visits, kind, low, high)
            if f["true"] or f["found"]:
                shares = [
                    f"{f[a]:.0f}/{f[b]:.0f} = {f[a] / max(f[b], 1):.2f}"
                    for a, b in (("hit", "true"), ("right", "found"))
                ]
                print(f"{kind:12s} {low:4.0f} to {high:<4.0f} {shares[0]:18s} {shares[1]:18s} {f['f1']:.3f}")


def print_quiet(lines: Sequence[Line]) -> None:
    """False new lesions in subjects without change, by pair of consecutive visits."""
    for name, chosen in (
        ("one scanner", lambda pair: pair[0] == pair[1]),
        ("scanner change", lambda pair: pair[0] != pair[1]),
    ):
        _print_quiet_pairs(lines, name, chosen)


def _print_quiet_pairs(lines: Sequence[Line], name: str, chosen: Callable[[tuple[str, str]], bool]) -> None:
    counted = []
    for line in lines:
        visits = [v for v in line["visits"] if v["status"] == "analysed"]
        for before, after in pairwise(visits):
            if chosen((before["scanner"], after["scanner"])):
                counted.append([after["measured"][c] for c in ("new_t2_count", "enlarging_t2_count", "gel_count")])
    if counted:
        new, enlarging, gel = np.sum(np.array(counted, dtype=float), axis=0)
        print(
            f"quiet, {name}: {len(counted)} pairs, false: new {new:.0f}, enlarging {enlarging:.0f}, GEL {gel:.0f}"
        )


def print_summary(lines: Sequence[Line]) -> None:
    """Print all figures, separately for 2D and 3D."""
    for dimension in sorted({line["dimension"] for line in lines}):
        chosen = [line for line in lines if line["dimension"] == dimension]
        visits = _visits(chosen)
        failed = [line["subject"] for line in chosen if not line["done"] or line["failed_visits"]]
        print(
            f"\n{dimension}: {len(chosen)} subjects, {len(visits)} visits, failed: {', '.join(failed) or 'none'}"
        )
        print_counts(visits)
        print_combined(visits)
        print_volumes(visits)
        print_lesions(visits)
        print_quiet([line for line in chosen if line["quiet"]])
        cpu = [line["cpu_s"] / len(line["visits"]) for line in chosen]
        peak = max(line["peak_gib"] for line in chosen)
        print(
            f"CPU s for each visit: median {np.median(cpu):.1f}, maximum {max(cpu):.1f}; memory at most {peak:.2f} GiB"
        )
