"""Normal enhancing structures: vessels, choroid plexus, falx and tentorium.

Centrelines in the template's world (MNI mm), named after their vessels; cortical and medullary veins are drawn
at random for every person. Radii in mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.phantom.anatomy import ORIGIN_MM, TemplateHead, template_head
from mri_pipeline.phantom.fields import polyline

Tube = NDArray[np.float64]  # shape (n, 4): x, y, z, radius
_HEAD_MM = 2

_VEINS: dict[str, list[tuple[float, float, float, float]]] = {
    "straight sinus": [(0, -44, 10, 1.6), (0, -66, 2, 1.8), (0, -96, -6, 2.2)],
    "vein of Galen": [(0, -36, 12, 1.6), (0, -44, 10, 1.7)],
    "internal cerebral vein": [(2.5, 0, 13, 0.9), (2.5, -18, 16, 1.0), (2, -36, 12, 1.2)],
    "thalamostriate vein": [(2.5, 0, 13, 0.8), (9, -4, 17, 0.7), (16, -14, 21, 0.6)],
    "septal vein": [(2.5, 0, 13, 0.6), (3, 14, 10, 0.6), (6, 26, 8, 0.5)],
    "anterior caudate vein": [(9, -2, 17, 0.6), (13, 12, 19, 0.5), (15, 22, 16, 0.4)],
    "basal vein": [(12, 2, -16, 0.7), (18, -16, -12, 0.8), (12, -32, 0, 0.9), (2, -38, 9, 1.1)],
    "transverse sinus": [(0, -100, -9, 2.6), (22, -96, -17, 3.0), (46, -80, -23, 3.0), (59, -56, -27, 3.1)],
    "sigmoid sinus": [(59, -56, -27, 3.1), (53, -42, -38, 3.1), (42, -40, -54, 3.0), (32, -34, -70, 3.4)],
}
_ARTERIES: dict[str, list[tuple[float, float, float, float]]] = {
    "basilar artery": [(4, -34, -66, 1.4), (0, -25, -44, 1.5), (0, -17, -18, 1.4)],
    "posterior cerebral artery": [(0, -17, -17, 1.1), (14, -22, -14, 1.0), (20, -42, -3, 0.8), (14, -66, 4, 0.5)],
    "internal carotid artery": [(26, -4, -80, 2.2), (24, -2, -48, 2.2), (10, 0, -28, 1.9), (13, 4, -15, 1.8)],
    "middle cerebral artery": [(13, 4, -15, 1.4), (32, 5, -14, 1.2), (40, 2, -4, 0.9), (43, -16, 10, 0.6)],
    "anterior cerebral artery": [
        (10, 6, -14, 1.0),
        (2, 12, -12, 0.9),
        (2, 32, 2, 0.8),
        (2, 26, 26, 0.6),
        (2, 0, 36, 0.5),
    ],
}
_UNPAIRED = frozenset({"straight sinus", "vein of Galen", "basilar artery"})
_PLEXUS: list[list[tuple[float, float, float, float]]] = [
    [
        (26, -32, -8, 1.2),
        (27, -38, 2, 2.0),
        (24, -40, 12, 3.2),
        (18, -32, 18, 1.8),
        (10, -18, 20, 1.3),
        (4, -3, 15, 1.0),
    ],
    [(3, -44, -36, 1.2), (10, -42, -38, 0.9)],
]


def _both_sides(named: dict[str, list[tuple[float, float, float, float]]]) -> list[Tube]:
    tubes = []
    for name, points in named.items():
        tube = np.array(points, dtype=float)
        tubes.append(tube)
        if name not in _UNPAIRED:
            tubes.append(tube * np.array([-1.0, 1.0, 1.0, 1.0]))
    return tubes


def _surface_point(head: TemplateHead, y: float, angle: float, *, above: float) -> NDArray[np.float64]:
    """Where the ray from (0, y, 15) at `angle` from the vertical, in the coronal plane, leaves the brain last."""
    radius = np.arange(30.0, 100.0, 0.5)
    points = np.stack([radius * np.sin(angle), np.full_like(radius, y), 15.0 + radius * np.cos(angle)])
    index = (points - np.array(ORIGIN_MM)[:, None]) / _HEAD_MM
    distance = ndimage.map_coordinates(head.brain_distance_mm, index, order=1, mode="nearest")
    inside = np.flatnonzero(distance < above)
    return np.asarray(points[:, inside[-1] if inside.size else 0])


def sagittal_sinus(head: TemplateHead) -> Tube:
    """Along the midline, above the hemispheres, from the frontal pole to the confluence.

    Parameters
    ----------
    head : TemplateHead

    Returns
    -------
    ndarray, shape (n, 4)
        x, y, z and radius in mm, in the template's world.
    """
    # the fissure dips in the midline: the sinus rides on the hemispheres beside it
    rows = []
    for y in np.arange(58.0, -94.0, -8.0):
        z = max(float(_surface_point(head, y, a, above=0.0)[2]) for a in (0.0, 0.06, 0.12))
        rows.append((0.0, y, z + 0.5, 1.6 + 1.4 * (58.0 - y) / 152.0))
    rows.append((0.0, -101.0, -8.0, 3.0))
    return np.array(rows)


def _cortical_vein(head: TemplateHead, rng: np.random.Generator) -> Tube:
    """Over the convexity towards the sagittal sinus."""
    side = rng.choice([-1.0, 1.0])
    y = rng.uniform(-75.0, 45.0)
    drift = rng.uniform(5.0, 25.0)
    angles = np.linspace(rng.uniform(0.7, 1.5), 0.08, 9)
    radius = rng.uniform(0.6, 1.0)
    rows = []
    for step, angle in enumerate(angles):
        wiggle = rng.normal(0.0, 1.5)
        point = _surface_point(head, y + drift * step / 8.0 + wiggle, float(side * angle), above=-0.5)
        rows.append((*point, radius * (0.6 + 0.6 * step / 8.0)))
    return np.array(rows)


def _medullary_vein(rng: np.random.Generator) -> Tube:
    """Thin, through deep white matter towards the lateral ventricle."""
    side = rng.choice([-1.0, 1.0])
    y = rng.uniform(-45.0, 25.0)
    start = np.array([side * rng.uniform(18.0, 24.0), y, rng.uniform(20.0, 28.0)])
    direction = np.array([side * rng.uniform(0.5, 1.0), rng.uniform(-0.3, 0.3), rng.uniform(0.3, 0.9)])
    direction /= np.linalg.norm(direction)
    rows = [
        (*(start + t * direction + rng.normal(0.0, 0.6, 3)), rng.uniform(0.3, 0.5)) for t in (0.0, 6.0, 12.0, 18.0)
    ]
    return np.array(rows)


def _jittered(tubes: list[Tube], rng: np.random.Generator) -> list[Tube]:
    """Individual variation of course and radius of the vessels; connected ends stay close to each other."""
    result = []
    for tube in tubes:
        moved = tube.copy()
        moved[:, :3] += rng.normal(0.0, 0.8, (len(tube), 3))
        moved[:, 3] *= rng.uniform(0.8, 1.25)
        result.append(polyline(moved))
    return result


def vein_tubes(rng: np.random.Generator) -> list[Tube]:
    """Centrelines of sinuses and veins with radii, in the template's world.

    Parameters
    ----------
    rng : numpy.random.Generator
        For individual variation, and for the number of cortical and medullary veins.

    Returns
    -------
    list of ndarray, shape (n, 4)
        x, y, z and radius in mm.
    """
    head = template_head()
    tubes = [sagittal_sinus(head), *_both_sides(_VEINS)]
    tubes += [_cortical_vein(head, rng) for _ in range(int(rng.integers(14, 22)))]
    tubes += [_medullary_vein(rng) for _ in range(int(rng.integers(3, 8)))]
    return _jittered(tubes, rng)


def artery_tubes(rng: np.random.Generator) -> list[Tube]:
    """Centrelines of the large arteries with radii, in the template's world.

    Parameters
    ----------
    rng : numpy.random.Generator
        For individual variation.

    Returns
    -------
    list of ndarray, shape (n, 4)
        x, y, z and radius in mm.
    """
    return _jittered(_both_sides(_ARTERIES), rng)


def plexus_tubes(rng: np.random.Generator) -> list[Tube]:
    """Choroid plexus of the lateral and fourth ventricles, in the template's world.

    Parameters
    ----------
    rng : numpy.random.Generator
        For individual variation.

    Returns
    -------
    list of ndarray, shape (n, 4)
        x, y, z and radius in mm.
    """
    tubes = [
        np.array(points, dtype=float) * np.array([side, 1.0, 1.0, 1.0])
        for points in _PLEXUS
        for side in (-1.0, 1.0)
    ]
    return _jittered(tubes, rng)
