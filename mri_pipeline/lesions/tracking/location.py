"""Location of lesions by the McDonald zones."""

from __future__ import annotations

import numpy as np

from mri_pipeline.core.anatomy import LOCATION_LABELS, Location
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import LabelImage

ZONE_MIN_SHARE = METHOD.tracking.zone_min_share


def locate(lesions: LabelImage, location: LabelImage) -> dict[int, Location]:
    """Location of each lesion, in the categories of McDonald 2017. The fractions are rules of this project.

    A lesion is infratentorial if at least half of it is. Otherwise it is periventricular, then juxtacortical, if at
    least a tenth of it lies in the zone along the ventricles or the cortex, since these lesions are defined by
    *contact*. Otherwise it is in deep white matter.

    Parameters
    ----------
    lesions : LabelImage
        Numbered lesions.
    location : LabelImage
        `anatomy.LOCATION_LABELS` on the same grid.

    Returns
    -------
    dict of int to Location
        By label; empty if there is no lesion.

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> grid = Grid((12, 1, 1), np.eye(4))
    >>> zones = LabelImage(np.array([1] * 2 + [4] * 10).reshape(12, 1, 1), grid)
    >>> locate(LabelImage(np.array([0] + [1] * 5 + [0] + [2] * 5).reshape(12, 1, 1), grid), zones)[1].value
    'periventricular'
    """
    inside = lesions.data > 0
    labels, zones = lesions.data[inside].astype(np.int64), location.data[inside].astype(np.int64)
    highest = max(LOCATION_LABELS)
    counts = np.zeros((int(labels.max(initial=0)) + 1, highest + 1), dtype=np.int64)  # voxels by lesion and zone
    np.add.at(counts, (labels, np.minimum(zones, highest)), 1)
    places = {}
    for label in np.unique(labels):
        share = dict.fromkeys(Location, 0.0)
        for zone, place in LOCATION_LABELS.items():
            share[place] += counts[label, zone] / counts[label].sum()
        if share[Location.INFRATENTORIAL] >= 0.5:
            place = Location.INFRATENTORIAL
        elif share[Location.PERIVENTRICULAR] >= ZONE_MIN_SHARE:
            place = Location.PERIVENTRICULAR
        elif share[Location.JUXTACORTICAL] >= ZONE_MIN_SHARE:
            place = Location.JUXTACORTICAL
        else:
            place = Location.DEEP_WHITE_MATTER
        places[int(label)] = place
    return places
