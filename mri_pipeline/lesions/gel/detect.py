"""Gadolinium-enhancing lesions on post-contrast T1, with or without a T1 before contrast (Barkhof et al. 1997).

An enhancing lesion is a well-demarcated increase relative to the surrounding tissue and, if available, to the
pre-contrast T1. It has a T2 correlate and is not vessel, choroid plexus or dura. Lesions are found in two steps: by
rules, and by a model of all the evidence together, which accepts a weaker T2 correlate (`lesions.gel.nodes`). Other
enhancing components are kept as candidates with the reasons for rejection. Each candidate has a probability of being
a lesion, for the reader.

The volume is that of the enhancing voxels. The dark centre of a ring is not part of it. If the half-maximum border
interrupts a ring, the parts are bridged along the path of highest enhancement, since the ring is one lesion.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents, connected_parts
from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.holes import filled
from mri_pipeline.core.io.priors import GEL_NODES_FILE, load_model
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.robust import median, quantile
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import VisitImages
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.gel.candidates import GelCandidate, GelDetection, GelReason
from mri_pipeline.lesions.gel.evidence import GelEvidence, gel_evidence
from mri_pipeline.lesions.gel.levels import AcceptedNodes, accepted_nodes
from mri_pipeline.lesions.gel.nodes import gel_nodes
from mri_pipeline.lesions.gel.pieces import (
    Piece,
    is_tube,
    joined,
    own_share_of,
    pieces_of,
    points_mm_of,
    to_border,
)
from mri_pipeline.lesions.gel.probability import GelFeatures, gel_probability


def detect_gel(
    visit: VisitImages,
    tissue: TissueMaps,
    t2_mask: LabelImage,
    rules: LesionRules,
    *,
    settings: GelSettings | None = None,
    model: LogisticModel | None = None,
) -> GelDetection:
    """Detect the enhancing lesions of a visit with a post-contrast T1.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR` and `Contrast.T1W_GD`; `Contrast.T1W` is used as the pre-contrast T1 if present.
    tissue : TissueMaps
    t2_mask : LabelImage
        T2 lesions of the same visit.
    rules : LesionRules
    settings : GelSettings, optional
    model : LogisticModel, optional
        Model of `lesions.gel.nodes`; default: the one that comes with the package.

    Returns
    -------
    GelDetection
        The mask is empty if nothing enhances.

    Raises
    ------
    GridMismatchError
        If the mask is on a different grid.
    KeyError
        If the visit has no post-contrast T1. The caller must check this: "unknown" differs from "none".
    """
    settings = settings or GelSettings()
    visit.grid.require_same(t2_mask.grid, "T2 mask")
    evidence = gel_evidence(visit, tissue, t2_mask, settings)
    searched = visit.brain.mask & tissue.above_foramen_magnum
    judged = [
        found
        for component in _components(evidence, searched, settings)
        for found in _judge(component, evidence, rules, settings)
    ]
    taken = np.zeros(visit.grid.shape, dtype=bool)
    for piece, candidate in judged:
        taken[piece.where] |= piece.voxels & candidate.accepted
    model = model or load_model(GEL_NODES_FILE)
    nodes = gel_nodes(visit, tissue, evidence, settings)
    probabilities = [model.probability(at_level.features) for at_level in nodes]
    further = accepted_nodes(
        nodes, probabilities, evidence.enhancement, visit.grid, within=searched, taken=taken, settings=settings
    )
    judged += _further(further, evidence, rules, settings)
    judged.sort(key=lambda found: (not found[1].accepted, -found[1].enhancement, found[1].x_mm))
    places = np.zeros(visit.grid.shape, dtype=np.int32)
    for number, (piece, _) in reversed(list(enumerate(judged, start=1))):  # lesions overwrite rejected candidates
        places[piece.where][piece.voxels] = number
    accepted = sum(candidate.accepted for _, candidate in judged)
    mask = label_lesions(
        (places > 0) & (places <= accepted),
        visit.grid,
        min_volume_mm3=rules.gel_min_volume_mm3,
        connectivity=rules.connectivity,
    )
    candidates = tuple(candidate for _, candidate in judged)
    return GelDetection(mask, candidates, LabelImage(places, visit.grid))


def with_enhancing(
    t2_lesions: LabelImage, t2_probability: Image, found: GelDetection, rules: LesionRules
) -> tuple[LabelImage, Image]:
    """Add the enhancing lesions that overlap no T2 lesion to the T2 lesions (docs/definitions.md: GEL).

    Parameters
    ----------
    t2_lesions : LabelImage
        Numbered T2 lesions.
    t2_probability : Image
        Probability map of the T2 lesions, 0 to 1.
    found : GelDetection
        Of the same visit, on the same grid.
    rules : LesionRules

    Returns
    -------
    t2_lesions : LabelImage
        Numbered anew if a lesion was added. A lesion beside a T2 lesion becomes a part of it. A hole that is enclosed
        on all sides, or in a thick slice, such as the centre of a ring, is filled.
    t2_probability : Image
        At least the probability of the enhancing lesion in each added lesion.
    """
    lesions = ConnectedComponents.of(found.mask.mask, rules.connectivity)
    missed = lesions.chosen(lesions.sums(t2_lesions.mask) == 0)
    if not missed.any():
        return t2_lesions, t2_probability
    missed = _filled(missed, t2_lesions.grid)
    mask = label_lesions(
        t2_lesions.mask | missed,
        t2_lesions.grid,
        min_volume_mm3=rules.t2_min_volume_mm3,
        connectivity=rules.connectivity,
    )
    own = np.where(missed, np.maximum(found.probability.data, 0.5), 0.0)
    return mask, Image(np.maximum(t2_probability.data, own).astype(np.float32), t2_probability.grid)


def _filled(lesions: BoolArray, grid: Grid) -> BoolArray:
    """Fill enclosed holes. The top and bottom of a ring lie between thick slices, which are filled one by one."""
    whole = filled(lesions)
    through = int(np.argmax(grid.spacing_mm))
    in_plane = max(s for axis, s in enumerate(grid.spacing_mm) if axis != through)
    if grid.spacing_mm[through] >= METHOD.gel_nodes.thick_slices * in_plane:
        slices = np.moveaxis(whole, through, 0)  # a view
        for index in np.flatnonzero(slices.any(axis=(1, 2))):
            slices[index] = filled(slices[index])
    return whole


def _further(
    nodes: AcceptedNodes, evidence: GelEvidence, rules: LesionRules, settings: GelSettings
) -> list[tuple[Piece, GelCandidate]]:
    """Lesions that the rules have not accepted, but whose evidence as a whole is sufficient (`gel.nodes`)."""
    further = []
    for piece in pieces_of(nodes.labels, (0, 0, 0), evidence.grid, settings):
        lesion = joined(piece, to_border(piece, evidence.enhancement, settings), evidence, rules)
        candidate = _candidate(lesion, own_share_of(lesion, evidence, settings), evidence, rules, settings)
        tube = is_tube(points_mm_of(lesion, evidence.grid), candidate.volume_mm3, settings)
        if not tube and GelReason.TOO_SMALL not in candidate.reasons:
            probability = nodes.probabilities[piece.number - 1]
            further.append((lesion, replace(candidate, probability=probability, reasons=())))
    return further


def _components(evidence: GelEvidence, brain: BoolArray, settings: GelSettings) -> list[Piece]:
    """Connected components of enhancing voxels that contain a seed."""
    high = _seed_level(evidence, settings)
    low = max(settings.least_enhancement, settings.edge_share * high)
    labels, count = connected_parts(brain & (evidence.enhancement >= low))
    seeded = np.zeros(count + 1, dtype=bool)
    seeded[np.unique(labels[evidence.enhancement >= high])] = True
    return [piece for piece in pieces_of(labels, (0, 0, 0), evidence.grid, settings) if seeded[piece.number]]


def _judge(
    piece: Piece, evidence: GelEvidence, rules: LesionRules, settings: GelSettings
) -> list[tuple[Piece, GelCandidate]]:
    """Evaluate each part of a component that has a T2 correlate; the rest of the component is vessel.

    Vessels, dura and choroid plexus may connect most of the enhancing voxels of a head. The T2 correlate separates
    them again.
    """
    labels, _ = connected_parts(piece.voxels & evidence.correlate[piece.where])
    start = tuple(s.start for s in piece.where)
    parts = [p for p in pieces_of(labels, start, evidence.grid, settings) if _has_seed(p, evidence, settings)]
    if not parts:
        whole = to_border(piece, evidence.enhancement, settings)
        return [(whole, _candidate(whole, 0.0, evidence, rules, settings))]
    judged = []
    for part in parts:
        lesion = to_border(part, evidence.enhancement, settings)
        # computed without the bridge, which is fainter: with it, the halo would count as enhancing "as much"
        own_share = own_share_of(lesion, evidence, settings)
        lesion = joined(part, lesion, evidence, rules)
        judged.append((lesion, _candidate(lesion, own_share, evidence, rules, settings)))
    return judged


def _has_seed(piece: Piece, evidence: GelEvidence, settings: GelSettings) -> bool:
    return bool((evidence.enhancement[piece.where][piece.voxels] >= _seed_level(evidence, settings)).any())


def _seed_level(evidence: GelEvidence, settings: GelSettings) -> float:
    least = settings.seed_enhancement if evidence.compared else settings.seed_enhancement_alone
    return max(least, settings.seed_noise * evidence.noise)


def _candidate(
    piece: Piece, own_share: float, evidence: GelEvidence, rules: LesionRules, settings: GelSettings
) -> GelCandidate:
    """Test a component against every rule."""
    grid, where, voxels = evidence.grid, piece.where, piece.voxels
    points = points_mm_of(piece, grid)
    volume = len(points) * grid.voxel_volume_mm3
    enhancement = float(quantile(evidence.enhancement[where][voxels], settings.upper_quantile))
    features = GelFeatures(
        size=volume / rules.gel_min_volume_mm3,
        own_share=own_share,
        depth_mm=float(median(evidence.depth_mm[where][voxels])),
        fluid_share=float(evidence.fluid[where][voxels].mean()),
        lesion_share=float(evidence.t2_lesions[where][voxels].mean()),
    )
    least_share = rules.gel_min_t2_overlap
    if features.size < settings.small_size:
        least_share = max(least_share, settings.small_own_share)
    rules_broken = {
        GelReason.TOO_SMALL: volume < rules.gel_min_volume_mm3 or len(points) < rules.gel_min_voxels,
        GelReason.NO_T2_CORRELATE: own_share < least_share,
        GelReason.BRAIN_EDGE: features.depth_mm < settings.edge_depth_mm,
        GelReason.IN_FLUID: features.fluid_share > settings.fluid_share,
    }
    if not any(rules_broken.values()):  # the expensive rules
        near = within_reach(voxels, settings.surround_mm, grid.spacing_mm)
        white_matter = float(evidence.white_matter[where][near].mean())
        rules_broken[GelReason.NOT_IN_WHITE_MATTER] = (
            white_matter < settings.white_matter_share and features.lesion_share < 0.5
        )
        rules_broken[GelReason.TUBULAR] = is_tube(points, volume, settings)
    x, y, z = (float(v) for v in points.mean(axis=0))
    reasons = tuple(reason for reason, broken in rules_broken.items() if broken)
    return GelCandidate(x, y, z, volume, enhancement, features, gel_probability(features), reasons)
