"""T2 lesions that are detected by comparing two visits, but not on either scan alone.

On a single scan, brightness must be weighed against location: a faint spot in the pons is ambiguous. White matter
that is normal at one visit and bright at another needs no location prior. The rule accepts only changes beyond doubt.
An accepted component is a lesion at every visit at which it is bright, so that it persists over visits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.crop import Crop
from mri_pipeline.core.distances import ROUNDING_MM, deeper_than
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Image, LabelImage
from mri_pipeline.lesions.change.detect import EXTENT_Z, HYPERINTENSE, SEED_Z, SmoothFlair, change_evidence
from mri_pipeline.lesions.change.model import NORMAL_RANGE
from mri_pipeline.lesions.t2.appearing import Change, appearing_lesions, changes_between

PROVEN_Z = METHOD.t2_visits.proven_z
LEAST_WHITE_MATTER = METHOD.t2_visits.least_white_matter


@dataclass(frozen=True, eq=False)
class ProvenLesions:
    """Lesions of each visit that are proven by comparison with another visit.

    Parameters
    ----------
    definite : list of ndarray of bool, shape (x, y, z)
        Brighter than all normal tissue.
    faint : list of ndarray of bool, shape (x, y, z)
        Brighter than the white matter around (`t2.appearing`). Without the known and the definite lesions.
    """

    definite: list[BoolArray]
    faint: list[BoolArray]


def proven_lesions(
    flairs: Sequence[Image],
    brains: Sequence[LabelImage],
    known: Sequence[LabelImage],
    *,
    contrasts: Sequence[Image],
    white_matter: Image,
    rules: LesionRules,
) -> ProvenLesions:
    """Lesions of each visit that are proven by comparison with another visit and are not yet known.

    A candidate for a definite lesion is a component of hyperintense voxels that differ from the other visit by at least
    2 noise SD (`change.change_evidence`) and does not touch a known lesion of either visit. It is accepted if at least
    the minimum lesion volume of it is brighter than all normal tissue and differs by at least 3 noise SD, at least one
    voxel differs by 5, and it lies in white matter that was normal at the other visit. It is a lesion at every visit
    whose mean intensity there is closer to that of the brightest visit than to that of the darkest.

    Faint lesions are those of `t2.appearing`.

    Parameters
    ----------
    flairs : sequence of Image
        FLAIR of every visit in any order, on one grid and one intensity scale, white matter 1.
    brains : sequence of LabelImage
        Part of the brain within the field of view of each visit.
    known : sequence of LabelImage
        Lesions that were segmented at each visit.
    contrasts : sequence of Image
        FLAIR of each visit relative to the white matter around (`basins.white_matter_contrast`).
    white_matter : Image
        Probability of white matter.
    rules : LesionRules

    Returns
    -------
    ProvenLesions
        The result does not depend on the order of the visits. All masks are empty for a single visit.
    """
    if len(flairs) < 2:
        nothing = [np.zeros(white_matter.grid.shape, dtype=bool) for _ in flairs]
        return ProvenLesions(nothing, nothing)
    crop = Crop.around([brain.mask for brain in brains], white_matter.grid)
    smooth = [SmoothFlair.of(crop.image(flair)) for flair in flairs]
    scanned = [crop.labels(brain).mask for brain in brains]
    edge_mm = METHOD.t2_evidence.edge_mm - ROUNDING_MM
    inner = [deeper_than(mask, edge_mm, crop.inner.spacing_mm) for mask in scanned]
    contrast = [np.ascontiguousarray(crop.image(image).data) for image in contrasts]
    lesions = [crop.labels(mask).mask for mask in known]
    white, places = crop.image(white_matter), np.zeros(crop.inner.shape, dtype=bool)
    changes: list[Change] = []
    for i, j in itertools.combinations(range(len(smooth)), 2):
        either = lesions[i] | lesions[j]
        z = change_evidence(smooth[i], smooth[j], scanned[i] & scanned[j], lesions=either).data
        for change, bright, dark in ((z, j, i), (-z, i, j)):
            places |= _proven(change, smooth[bright], smooth[dark], white, rules, apart_from=either)
            changes += changes_between(
                change,
                (contrast[dark], contrast[bright]),
                bright,
                searched=inner[i] & inner[j],
                known=either,
                white_matter=white,
                rules=rules,
            )
    definite = _where_bright(places, smooth, scanned, rules)
    taken = [there | more for there, more in zip(lesions, definite, strict=True)]
    faint = appearing_lesions(changes, contrast, scanned, taken)
    return ProvenLesions(
        *([crop.restored(LabelImage(m, crop.inner)).mask for m in masks] for masks in (definite, faint))
    )


def _proven(
    z: NDArray[np.float32],
    bright: SmoothFlair,
    dark: SmoothFlair,
    white_matter: Image,
    rules: LesionRules,
    *,
    apart_from: BoolArray,
) -> BoolArray:
    """Components that are definitely a lesion at the bright visit and definitely none at the dark one."""
    changed = (z >= EXTENT_Z) & (bright.data > HYPERINTENSE)
    parts = ConnectedComponents.of(changed | apart_from, rules.connectivity)
    lesion = (z >= SEED_Z) & (bright.data > NORMAL_RANGE[1])
    keep = parts.sums(lesion) * white_matter.grid.voxel_volume_mm3 >= rules.t2_min_volume_mm3
    keep &= parts.sums(z >= PROVEN_Z) > 0
    keep &= parts.means(white_matter.data) >= LEAST_WHITE_MATTER
    keep &= parts.means(dark.data) < HYPERINTENSE
    keep &= parts.sums(apart_from) == 0
    return parts.chosen(keep)


def _where_bright(
    places: BoolArray, smooth: Sequence[SmoothFlair], scanned: Sequence[BoolArray], rules: LesionRules
) -> list[BoolArray]:
    """Components of `places` at each visit at which their mean is closer to the brightest than to the darkest."""
    parts = ConnectedComponents.of(places, rules.connectivity)
    if not len(parts.sizes):
        return [places for _ in smooth]
    means = np.array([parts.means(flair.data) for flair in smooth])
    means[np.array([parts.means(brain) for brain in scanned]) < 1] = np.nan  # partly outside the field of view
    bright = means > (np.nanmax(means, axis=0) + np.nanmin(means, axis=0)) / 2
    return [parts.chosen(now) & (flair.data > HYPERINTENSE) for now, flair in zip(bright, smooth, strict=True)]
