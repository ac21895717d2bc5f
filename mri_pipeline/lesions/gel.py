"""Gadolinium-enhancing lesions on post-contrast T1, with or without a T1 before contrast (Barkhof et al. 1997).

An enhancing lesion is a well-demarcated increase against the surrounding tissue and, where a pre-contrast T1
exists, against it. It has a T2 correlate and is neither vessel nor choroid plexus nor dura. What enhances but is
no lesion is kept as a candidate with the reasons, for the reader.

Volume: the enhancing voxels themselves. The dark centre of a ring is not part of it; a ring that its half-way border
cuts is bridged where it enhances most, since it is one lesion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import MCP_Geometric

from mri_pipeline.lesions.components import label_lesions, structure
from mri_pipeline.lesions.t2_features import smoothed, standardised, surround
from mri_pipeline.model import (
    LOCATION_LABELS,
    BoolArray,
    Contrast,
    FloatArray,
    Grid,
    Image,
    LabelImage,
    Location,
    TissueMaps,
    VisitImages,
)
from mri_pipeline.protocol import LesionRules


class GelReason(StrEnum):
    """Why something that enhances is not counted."""

    TOO_SMALL = "too_small"
    NO_T2_CORRELATE = "no_t2_correlate"
    BRAIN_EDGE = "brain_edge"  # dura, cortical vein, partial volume
    IN_FLUID = "in_fluid"  # choroid plexus, flow
    NOT_IN_WHITE_MATTER = "not_in_white_matter"
    TUBULAR = "tubular"  # vessel


@dataclass(frozen=True)
class GelCandidate:
    """Something that enhances.

    Parameters
    ----------
    x_mm, y_mm, z_mm : float
        Centroid in world space (RAS).
    volume_mm3 : float
    uplift : float
        Upper decile of the increase, as a share of white matter.
    t2_overlap : float
        Share with a T2 correlate of what enhances there.
    reasons : tuple of GelReason
        Why it was rejected; empty for a lesion.
    """

    x_mm: float
    y_mm: float
    z_mm: float
    volume_mm3: float
    uplift: float
    t2_overlap: float
    reasons: tuple[GelReason, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it is counted as a lesion."""
        return not self.reasons


@dataclass(frozen=True)
class GelDetection:
    """Enhancing lesions of a visit: their `mask` (lesions numbered) and all `candidates`, brightest first."""

    mask: LabelImage
    candidates: tuple[GelCandidate, ...]


@dataclass(frozen=True)
class GelSettings:
    """Thresholds of the detector. Increases are shares of white matter, after a 1 mm mean.

    Parameters
    ----------
    seed_uplift, seed_noise : float
        A lesion holds a voxel of at least this increase, and of this many standard deviations of white matter.
    seed_uplift_alone : float
        The least increase without a pre-contrast T1: normal tissue varies by up to 0.15.
    edge_share : float
        Its border is where the increase falls to this share of its own upper decile.
    least_uplift : float
        No enhancing voxel is below this increase.
    least_local_uplift : float
        With a pre-contrast T1: least increase against the surroundings as well (an enhancing lesion inside a
        black hole is hardly brighter than white matter).
    flair_correlate, above_grey_matter : float
        FLAIR (1 mm mean) that counts as a T2 correlate outside the T2 mask: in white matter, in its standard
        deviations; in grey matter, as much above its upper quartile.
    t2_correlate : float
        T2 in standard deviations of white matter that is needed as well in the posterior fossa.
    edge_depth_mm : float
        Candidates with a median depth below this lie at the brain's edge.
    fluid_share, fluid_reach_mm : float
        Share of voxels in fluid (dark on FLAIR) or this near to it that makes a choroid plexus or a vein.
    white_matter_share : float
        Least mean of the white-matter map within `surround_mm`, unless most of it lies in a T2 lesion: bright
        FLAIR alone is found in cortex too.
    surround_mm : float
    vessel_reach_mm : float
        How far what enhances is followed beyond its T2 correlate: a lesion ends there, but for a vessel it touches;
        choroid plexus, dura and cortical veins run on.
    vessel_elongation, vessel_width_mm : float
        Longer than this many times its width, and thinner than this: a vessel.
    """

    seed_uplift: float = 0.15
    seed_uplift_alone: float = 0.2
    seed_noise: float = 3.5
    edge_share: float = 0.5
    least_uplift: float = 0.08
    least_local_uplift: float = 0.0
    flair_correlate: float = 2.0
    above_grey_matter: float = 1.0
    t2_correlate: float = 2.0
    edge_depth_mm: float = 4.0
    fluid_share: float = 0.5
    fluid_reach_mm: float = 2.0
    white_matter_share: float = 0.25
    surround_mm: float = 4.0
    vessel_reach_mm: float = 2.0
    vessel_elongation: float = 3.5
    vessel_width_mm: float = 3.5


_LEAST_VOXELS = 50


@dataclass(frozen=True)
class _Evidence:
    """Maps the rules look at, all on the visit's grid."""

    grid: Grid
    uplift: FloatArray
    noise: float
    compared: bool  # with a pre-contrast T1
    t2_lesions: BoolArray
    correlate: BoolArray
    fluid: BoolArray
    depth_mm: FloatArray
    white_matter: FloatArray


@dataclass(frozen=True)
class _Piece:
    """A component in its box: `where` in the image, `voxels` of the box's shape."""

    number: int
    where: tuple[slice, ...]
    voxels: BoolArray


def detect_gel(
    visit: VisitImages,
    tissue: TissueMaps,
    t2_mask: LabelImage,
    rules: LesionRules,
    *,
    settings: GelSettings | None = None,
) -> GelDetection:
    """Find the enhancing lesions of a visit with a post-contrast T1.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.T1W_GD`; `Contrast.T1W` is used as the pre-contrast T1 where present.
    tissue : TissueMaps
    t2_mask : LabelImage
        T2 lesions of the same visit.
    rules : LesionRules
    settings : GelSettings, optional

    Returns
    -------
    GelDetection
        With an empty mask if nothing enhances.

    Raises
    ------
    GridMismatchError
        If the mask lies on another grid.
    KeyError
        If the visit has no post-contrast T1 (the caller's to know: "not known" is not "none").
    """
    settings = settings or GelSettings()
    visit.grid.require_same(t2_mask.grid, "T2 mask")
    evidence = _evidence(visit, tissue, t2_mask, settings)
    accepted = np.zeros(visit.grid.shape, dtype=bool)
    candidates: list[GelCandidate] = []
    for component in _components(evidence, visit.brain.mask, settings):
        for piece, candidate in _judge(component, evidence, rules, settings):
            candidates.append(candidate)
            if candidate.accepted:
                accepted[piece.where] |= piece.voxels
    mask = label_lesions(
        accepted, visit.grid, min_volume_mm3=rules.gel_min_volume_mm3, connectivity=rules.connectivity
    )
    return GelDetection(mask, tuple(sorted(candidates, key=lambda c: (bool(c.reasons), -c.uplift, c.x_mm))))


def enhancement(visit: VisitImages, tissue: TissueMaps, *, least_local_uplift: float = 0.0) -> Image:
    """Increase on post-contrast T1 as a share of white matter.

    Without a pre-contrast T1: against the normal tissue within about 8 mm. With one: the change from it, where the
    voxel is also at least `least_local_uplift` above its surroundings; each image is divided by its own
    surroundings first, so that differences of the coil's field cancel, and what a tissue changes everywhere is
    taken off.
    """
    post, around = _smooth_ratio(visit.contrasts[Contrast.T1W_GD], visit, tissue)
    if Contrast.T1W not in visit.contrasts:
        return Image((post - around).astype(np.float32), visit.grid)
    pre, _ = _smooth_ratio(visit.contrasts[Contrast.T1W], visit, tissue)
    change = post - pre
    change -= _normal_change(change, visit, tissue)
    return Image(np.where(post - around >= least_local_uplift, change, np.minimum(change, 0.0)), visit.grid)


def _smooth_ratio(image: Image, visit: VisitImages, tissue: TissueMaps) -> tuple[FloatArray, FloatArray]:
    """The 1 mm mean over the local level of white matter, and that of all normal tissue around, on that scale."""
    mean = smoothed(image.data, visit.grid, 1.0)
    white = visit.brain.mask & (np.abs(mean - 1.0) < 0.25)
    level = surround(mean, (white * tissue.white_matter.data).astype(np.float32), visit.grid)
    level = np.where(level > 0.5, level, 1.0)
    normal = visit.brain.mask & (mean > 0.5) & (mean < 1.25)
    around = surround(mean, normal.astype(np.float32), visit.grid)
    return mean / level, np.where(around > 0.3, around, 1.0) / level


def _normal_change(change: FloatArray, visit: VisitImages, tissue: TissueMaps) -> FloatArray:
    """What grey matter and fluid gain between two T1 of unlike weighting (0.14 of white matter in a real pair)."""
    expected = np.zeros(visit.grid.shape, dtype=np.float32)
    for part in (tissue.white_matter, tissue.grey_matter, tissue.csf):
        sure = visit.brain.mask & (part.data > 0.8)
        if np.count_nonzero(sure) >= _LEAST_VOXELS:
            expected += np.float32(np.median(change[sure])) * smoothed(part.data, visit.grid, 1.0)
    return expected


def _evidence(visit: VisitImages, tissue: TissueMaps, t2_mask: LabelImage, settings: GelSettings) -> _Evidence:
    grid, brain = visit.grid, visit.brain.mask
    uplift = enhancement(visit, tissue, least_local_uplift=settings.least_local_uplift).data
    sure = brain & (tissue.white_matter.data > 0.8)
    noise = 1.4826 * float(np.median(np.abs(uplift[sure] - np.median(uplift[sure])))) if sure.any() else 0.0
    flair = visit.contrasts[Contrast.FLAIR]
    # dark on FLAIR, and called fluid by the tissue map or by its darkness alone
    level = smoothed(flair.data, grid, 1.0)
    fluid = brain & ((level < 0.55) | ((level < 0.8) & (tissue.csf.data > 0.5)))
    padded = np.pad(brain, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    return _Evidence(
        grid=grid,
        uplift=uplift,
        noise=noise,
        compared=Contrast.T1W in visit.contrasts,
        t2_lesions=t2_mask.mask,
        correlate=t2_mask.mask | _bright(visit, tissue, settings),
        fluid=_widened(fluid, grid, settings.fluid_reach_mm),
        depth_mm=depth,
        white_matter=tissue.white_matter.data,
    )


def _bright(visit: VisitImages, tissue: TissueMaps, settings: GelSettings) -> BoolArray:
    """What is brighter than normal tissue there: on FLAIR, in the posterior fossa on FLAIR and T2.

    In white matter `flair_correlate` is enough; the more grey matter or fluid, the more the brightness of grey
    matter counts. In the posterior fossa FLAIR is full of flow artefacts, and the T2 correlate is mandatory
    (Barkhof 1997).
    """
    flair = _deviation(Contrast.FLAIR, visit, tissue)
    grey = flair[visit.brain.mask & (tissue.grey_matter.data > 0.8)]
    above = float(np.quantile(grey, 0.75)) + settings.above_grey_matter if grey.size else 0.0
    white = smoothed(tissue.white_matter.data, visit.grid, 1.0)
    least = settings.flair_correlate
    bright = flair > least + (1.0 - white) * max(above - least, 0.0)
    infratentorial = np.isin(
        tissue.location.data, [k for k, v in LOCATION_LABELS.items() if v is Location.INFRATENTORIAL]
    )
    if Contrast.T2W in visit.contrasts:
        infratentorial &= _deviation(Contrast.T2W, visit, tissue) < settings.t2_correlate
    return np.asarray(bright & ~infratentorial)


def _deviation(contrast: Contrast, visit: VisitImages, tissue: TissueMaps) -> FloatArray:
    return smoothed(standardised(visit.contrasts[contrast], visit, tissue), visit.grid, 1.0)


def _widened(mask: BoolArray, grid: Grid, reach_mm: float) -> BoolArray:
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm) <= reach_mm)


def _components(evidence: _Evidence, brain: BoolArray, settings: GelSettings) -> list[_Piece]:
    """Connected enhancing voxels with a seed among them."""
    high = _seed_level(evidence, settings)
    low = max(settings.least_uplift, settings.edge_share * high)
    labels, count = ndimage.label(brain & (evidence.uplift >= low), structure(3))
    seeded = np.zeros(count + 1, dtype=bool)
    seeded[np.unique(labels[evidence.uplift >= high])] = True
    return [piece for piece in _pieces(labels, (0, 0, 0), evidence.grid, settings) if seeded[piece.number]]


def _pieces(
    labels: NDArray[np.integer[Any]], start: tuple[int, ...], grid: Grid, settings: GelSettings
) -> list[_Piece]:
    """The labels of an array that begins at `start`, each in its box with a margin for its surroundings."""
    margin = [int(np.ceil(settings.surround_mm / s)) for s in grid.spacing_mm]
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        low = [max(s.start + o - m, 0) for s, o, m in zip(box, start, margin, strict=True)]
        high = [min(s.stop + o + m, n) for s, o, m, n in zip(box, start, margin, grid.shape, strict=True)]
        voxels = np.zeros([h - w for w, h in zip(low, high, strict=True)], dtype=bool)
        inner = tuple(slice(s.start + o - w, s.stop + o - w) for s, o, w in zip(box, start, low, strict=True))
        voxels[inner] = labels[box] == number
        found.append(_Piece(number, tuple(slice(w, h) for w, h in zip(low, high, strict=True)), voxels))
    return found


def _judge(
    piece: _Piece, evidence: _Evidence, rules: LesionRules, settings: GelSettings
) -> list[tuple[_Piece, GelCandidate]]:
    """The parts of a component that have a T2 correlate, each by itself: what runs on beyond is a vessel.

    Vessels, dura and choroid plexus may join most of what enhances in a head; the T2 correlate parts it again.
    """
    labels, _ = ndimage.label(piece.voxels & evidence.correlate[piece.where], structure(3))
    start = tuple(s.start for s in piece.where)
    parts = [p for p in _pieces(labels, start, evidence.grid, settings) if _has_seed(p, evidence, settings)]
    if not parts:
        whole = _to_border(piece, evidence.uplift, settings)
        return [(whole, _candidate(whole, 0.0, evidence, rules, settings))]
    judged = []
    for part in parts:
        lesion = _joined(part, _to_border(part, evidence.uplift, settings), evidence, rules)
        judged.append(
            (lesion, _candidate(lesion, _own_share(lesion, evidence, settings), evidence, rules, settings))
        )
    return judged


def _has_seed(piece: _Piece, evidence: _Evidence, settings: GelSettings) -> bool:
    return bool((evidence.uplift[piece.where][piece.voxels] >= _seed_level(evidence, settings)).any())


def _seed_level(evidence: _Evidence, settings: GelSettings) -> float:
    least = settings.seed_uplift if evidence.compared else settings.seed_uplift_alone
    return max(least, settings.seed_noise * evidence.noise)


def _to_border(piece: _Piece, uplift: FloatArray, settings: GelSettings) -> _Piece:
    """Voxels above a share of the component's own upper decile: its half-way border."""
    values = uplift[piece.where]
    top = float(np.quantile(values[piece.voxels], 0.9))
    return replace(piece, voxels=piece.voxels & (values >= max(settings.edge_share * top, settings.least_uplift)))


def _joined(part: _Piece, lesion: _Piece, evidence: _Evidence, rules: LesionRules) -> _Piece:
    """One component: a ring that its border cuts is bridged where it enhances most."""
    labels, count = ndimage.label(lesion.voxels, structure(3))
    if count < 2:
        return lesion
    values = evidence.uplift[part.where]
    volume = np.bincount(labels.ravel())[1:] * evidence.grid.voxel_volume_mm3
    brightest = ndimage.maximum_position(values, labels, np.arange(1, count + 1))
    ways = MCP_Geometric(np.where(part.voxels, 1.0 / np.maximum(values, 1e-3), -1.0))  # negative: no way
    ways.find_costs([brightest[int(volume.argmax())]])
    voxels = lesion.voxels.copy()
    for size, end in zip(volume, brightest, strict=True):
        if size >= rules.gel_min_volume_mm3:
            voxels[tuple(np.transpose(ways.traceback(end)))] = True
    return replace(lesion, voxels=voxels)


def _own_share(piece: _Piece, evidence: _Evidence, settings: GelSettings) -> float:
    """Share of the piece in all that enhances as much and is joined to it within `vessel_reach_mm`."""
    values = evidence.uplift[piece.where]
    alike = values >= values[piece.voxels].min()
    near = (
        ndimage.distance_transform_edt(~piece.voxels, sampling=evidence.grid.spacing_mm)
        <= settings.vessel_reach_mm
    )
    joined = ndimage.binary_propagation(piece.voxels, structure(3), mask=alike & near | piece.voxels)
    return float(np.count_nonzero(piece.voxels) / np.count_nonzero(joined))


def _candidate(
    piece: _Piece, own_share: float, evidence: _Evidence, rules: LesionRules, settings: GelSettings
) -> GelCandidate:
    """Measure a component against every rule."""
    grid, where, voxels = evidence.grid, piece.where, piece.voxels
    index = np.argwhere(voxels)
    points = grid.world((index + [s.start for s in where]).astype(float))
    volume = len(index) * grid.voxel_volume_mm3
    rules_broken = {
        GelReason.TOO_SMALL: volume < rules.gel_min_volume_mm3 or len(index) < rules.gel_min_voxels,
        GelReason.NO_T2_CORRELATE: own_share < rules.gel_min_t2_overlap,
        GelReason.BRAIN_EDGE: float(np.median(evidence.depth_mm[where][voxels])) < settings.edge_depth_mm,
        GelReason.IN_FLUID: float(evidence.fluid[where][voxels].mean()) > settings.fluid_share,
    }
    if not any(rules_broken.values()):  # the costly ones
        near = ndimage.distance_transform_edt(~voxels, sampling=grid.spacing_mm) <= settings.surround_mm
        white_matter = float(evidence.white_matter[where][near].mean())
        in_lesion = np.count_nonzero(evidence.t2_lesions[where][voxels]) >= 0.5 * len(index)
        rules_broken[GelReason.NOT_IN_WHITE_MATTER] = white_matter < settings.white_matter_share and not in_lesion
        rules_broken[GelReason.TUBULAR] = _is_tube(points, volume, settings)
    x, y, z = (float(v) for v in points.mean(axis=0))
    return GelCandidate(
        x_mm=x,
        y_mm=y,
        z_mm=z,
        volume_mm3=volume,
        uplift=float(np.quantile(evidence.uplift[where][voxels], 0.9)),
        t2_overlap=own_share,
        reasons=tuple(reason for reason, broken in rules_broken.items() if broken),
    )


def _is_tube(points_mm: FloatArray, volume_mm3: float, settings: GelSettings) -> bool:
    """Long and thin: a cylinder of the same volume and length is narrower than a lesion."""
    if len(points_mm) < 4:
        return False
    centred = points_mm - points_mm.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    length = float(np.ptp(centred @ axis)) + (volume_mm3 / len(points_mm)) ** (1 / 3)
    width = 2.0 * float(np.sqrt(volume_mm3 / (np.pi * length)))
    return length > settings.vessel_elongation * width and width < settings.vessel_width_mm
