"""T2 lesions that no scan shows by itself, but a comparison of two does.

In a single scan brightness has to be weighed against the place: a faint spot in the pons may be anything. Where white
matter was normal at one visit and is bright at another, the place need not be guessed at. The rule is made for what
is beyond doubt. What it finds is a lesion at every visit at which the place is bright, so that it lasts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Image, LabelImage
from mri_pipeline.lesions.change.detect import EXTENT_Z, HYPERINTENSE, SEED_Z, SmoothFlair, change_evidence
from mri_pipeline.lesions.change.model import NORMAL_RANGE
from mri_pipeline.lesions.components import ConnectedComponents
from mri_pipeline.lesions.crop import Crop

PROVEN_Z = METHOD.t2_visits.proven_z
LEAST_WHITE_MATTER = METHOD.t2_visits.least_white_matter


def proven_lesions(
    flairs: Sequence[Image],
    brains: Sequence[LabelImage],
    known: Sequence[LabelImage],
    white_matter: Image,
    rules: LesionRules,
) -> list[BoolArray]:
    """Lesions of each visit that the comparison with another visit proves and that are not known.

    A component of voxels that differ from the other visit by 2 noises (`change.change_evidence`) and are
    hyperintense, apart from the known lesions of both visits. At least a lesion's volume of it is brighter than all
    normal tissue and differs by 3 noises, a voxel by 5; it lies in white matter that was normal at the other visit.
    It is a lesion at every visit whose mean there lies nearer to the brightest visit's than to the darkest's.

    Parameters
    ----------
    flairs : sequence of Image
        Of every visit in any order, on one grid and one scale, white matter 1.
    brains : sequence of LabelImage
        What each visit has scanned of the brain.
    known : sequence of LabelImage
        Lesions that each visit's scan shows by itself.
    white_matter : Image
        Probability of white matter.
    rules : LesionRules

    Returns
    -------
    list of ndarray of bool
        One for each visit. The order of the visits changes nothing; a single visit proves nothing.
    """
    if len(flairs) < 2:
        return [np.zeros(white_matter.grid.shape, dtype=bool) for _ in flairs]
    crop = Crop.around([brain.mask for brain in brains], white_matter.grid)
    seen = [SmoothFlair.of(crop.image(flair)) for flair in flairs]
    scanned = [crop.labels(brain).mask for brain in brains]
    lesions = [crop.labels(mask).mask for mask in known]
    white, places = crop.image(white_matter), np.zeros(crop.inner.shape, dtype=bool)
    for i, j in itertools.combinations(range(len(seen)), 2):
        either = lesions[i] | lesions[j]
        z = change_evidence(seen[i], seen[j], scanned[i] & scanned[j], lesions=either).data
        for change, bright, dark in ((z, seen[j], seen[i]), (-z, seen[i], seen[j])):
            places |= _proven(change, bright, dark, white, rules, apart_from=either)
    found = _where_bright(places, seen, scanned, rules)
    return [crop.restored(LabelImage(mask, crop.inner)).mask for mask in found]


def _proven(
    z: NDArray[np.float32],
    bright: SmoothFlair,
    dark: SmoothFlair,
    white_matter: Image,
    rules: LesionRules,
    *,
    apart_from: BoolArray,
) -> BoolArray:
    """Components that are lesion at the bright visit and none at the dark one, beyond doubt."""
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
    places: BoolArray, seen: Sequence[SmoothFlair], scanned: Sequence[BoolArray], rules: LesionRules
) -> list[BoolArray]:
    """The places at each visit at which they are nearer to their brightest than to their darkest."""
    parts = ConnectedComponents.of(places, rules.connectivity)
    if not len(parts.sizes):
        return [places for _ in seen]
    means = np.array([parts.means(flair.data) for flair in seen])
    means[np.array([parts.means(brain) for brain in scanned]) < 1] = np.nan  # not wholly scanned
    bright = means > (np.nanmax(means, axis=0) + np.nanmin(means, axis=0)) / 2
    return [parts.chosen(now) & (flair.data > HYPERINTENSE) for now, flair in zip(bright, seen, strict=True)]
