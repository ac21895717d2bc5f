"""Removal of CSF flow artefacts at the brainstem and the cord, and of structures within CSF: bright, but no T2 lesions.

FLAIR suppresses CSF by its long T1. CSF that was not inverted and flows into the slice is not suppressed (Lisanti et
al., AJR 2007;188:716). Around cord, medulla and pons it is as bright as a lesion. Four criteria identify it: it lies
below the foramen magnum; the template has no tissue there (both are in the tissue maps); T1 and T2w show fluid; or it
lies in the medulla and is darker than grey matter on T2w.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.anatomy import LOCATION_LABELS, Location, TissueMaps
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.distances import depth_within
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages

MOST = METHOD.t2_fluid.most
SURE_TISSUE = METHOD.t2_fluid.sure_tissue
DARK_FLAIR = METHOD.t2_fluid.dark_flair
MOST_CSF_AROUND = METHOD.t2_fluid.most_csf_around
AROUND_MM = METHOD.t2_fluid.around_mm


def without_flow(found: BoolArray, visit: VisitImages, tissue: TissueMaps) -> BoolArray:
    """Remove flowing CSF and everything below the foramen magnum from the T2 lesions of a visit.

    A component is removed if most of it lies below the foramen magnum. The part of other components below it is cut
    off. A component is CSF if most of it is CSF in the tissue maps. An infratentorial component is also CSF if its
    mean is closer to CSF than to grey matter on T1 and T2w. Each of them counts if most of the component is within
    its field of view; one suffices if the other is missing. In the medulla a component that is darker than grey matter
    on T2w has no T2 correlate and is flow. Tissue with the T1 of CSF would be as dark on FLAIR as
    CSF; only flow is bright there.

    Parameters
    ----------
    found : ndarray of bool, shape (x, y, z)
        T2 lesions of the visit.
    visit : VisitImages
        Requires FLAIR; T1 and T2w are used if present.
    tissue : TissueMaps
        On the grid of the visit.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        Lesions without flow; empty if `found` is empty.
    """
    parts = ConnectedComponents.of(found)
    above = tissue.above_foramen_magnum
    flow = (parts.means(above) <= MOST) | (parts.means(tissue.csf.data) > MOST)
    infratentorial = parts.means(tissue.infratentorial) > MOST
    if infratentorial.any():
        flow |= infratentorial & _fluid(parts, visit, tissue, apart_from=found)
        flow |= infratentorial & _no_t2_correlate(parts, visit, tissue, apart_from=found)
    return parts.chosen(~flow) & above


def enclosed_by_csf(found: Sequence[BoolArray], brains: Sequence[LabelImage], tissue: TissueMaps) -> BoolArray:
    """Places that CSF surrounds: choroid plexus, septum and fornix, folds of the dura.

    They are bright on FLAIR in everybody and lie deep in the brain or at its edge. At depths in between, sulci can
    surround a lesion below the cortex: nothing is removed there. A lesion of the corpus callosum adjoins CSF on one
    side and has more white matter than CSF around it. The same holds for septum and fornix, which lie at the midline.
    The decision is made once for the lesions of all visits together, so that it is the same at every visit.

    Parameters
    ----------
    found : sequence of ndarray of bool, shape (x, y, z)
        T2 lesions of each visit.
    brains : sequence of LabelImage
        Brain mask of each visit.
    tissue : TissueMaps
        On the grid of the visits.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        Components of all visits together whose surroundings are CSF by more than `most_csf_around` on average. False
        everywhere if nothing was found.
    """
    parts = ConnectedComponents.of(np.any(found, axis=0))
    brain = np.any([mask.mask for mask in brains], axis=0)
    reach = tuple(max(1, round(AROUND_MM / s)) for s in np.round(tissue.csf.grid.spacing_mm, 3).tolist())
    around = parts.ring(brain, reach)
    csf = around.means(tissue.csf.data)
    depth = parts.means(depth_within(brain, tissue.csf.grid.spacing_mm))
    sulcal = (depth >= METHOD.t2_fluid.edge_mm) & (depth <= METHOD.t2_fluid.deep_mm)
    beside_white_matter = csf < around.means(tissue.white_matter.data)
    lateral_mm = np.abs(tissue.template_to_subject.inverse().points(tissue.csf.grid.world(parts.centres()))[:, 0])
    callosal = beside_white_matter & (lateral_mm > METHOD.t2_fluid.midline_mm)
    return parts.chosen((csf > MOST_CSF_AROUND) & ~sulcal & ~callosal)


def _fluid(
    parts: ConnectedComponents, visit: VisitImages, tissue: TissueMaps, *, apart_from: BoolArray
) -> BoolArray:
    """True for components that are fluid on each of T1 and T2w whose field of view contains most of them."""
    fluid, judged = np.ones(len(parts.sizes), dtype=bool), np.zeros(len(parts.sizes), dtype=bool)
    t1 = Contrast.T1W if Contrast.T1W in visit.contrasts else Contrast.T1W_GD
    for contrast in (t1, Contrast.T2W):
        levels = _levels(contrast, visit, tissue, apart_from) if contrast in visit.contrasts else None
        if levels is None:
            continue
        grey, csf = levels
        mean, covered = _means(parts, contrast, visit)
        fluid &= ~covered | (np.abs(mean - csf) < np.abs(mean - grey))
        judged |= covered
    return fluid & judged


def _no_t2_correlate(
    parts: ConnectedComponents, visit: VisitImages, tissue: TissueMaps, *, apart_from: BoolArray
) -> BoolArray:
    """True for components of the medulla that are darker than grey matter on a T2w that covers most of them.

    A lesion is bright on T2w, too. Tissue that is bright on FLAIR alone is an artefact. The rule is applied where FLAIR
    has most flow artefacts (Lisanti et al., AJR 2007;188:716), from the pontomedullary sulcus downwards.
    """
    levels = _levels(Contrast.T2W, visit, tissue, apart_from) if Contrast.T2W in visit.contrasts else None
    if levels is None:
        return np.zeros(len(parts.sizes), dtype=bool)
    mean, covered = _means(parts, Contrast.T2W, visit)
    z_mm = tissue.template_to_subject.inverse().points(visit.grid.world(parts.centres()))[:, 2]
    return covered & (mean < levels[0]) & (z_mm < METHOD.regions.pontomedullary_sulcus_z_mm)


def _means(
    parts: ConnectedComponents, contrast: Contrast, visit: VisitImages
) -> tuple[NDArray[np.float64], BoolArray]:
    """Mean of a contrast in each component, and whether its field of view holds most of the component."""
    scanned = visit.scanned(contrast)
    size = parts.sums(scanned)
    mean = parts.sums(np.where(scanned, visit.contrasts[contrast].data, 0)) / np.maximum(size, 1)
    return mean, size > MOST * parts.sizes


def _levels(
    contrast: Contrast, visit: VisitImages, tissue: TissueMaps, apart_from: BoolArray
) -> tuple[float, float] | None:
    """Medians of grey matter and of CSF in and beside the lateral ventricles; None if the scan lacks either.

    Sulcal CSF has partial volume with cortex and vessels. In nine T2w scans the median of all CSF was 1.4 to 2.7
    times white matter; the median in and beside the ventricles was 2.9 to 3.7.
    """
    data = visit.contrasts[contrast].data
    in_fov = visit.scanned(contrast) & ~apart_from
    beside = [label for label, place in LOCATION_LABELS.items() if place is Location.PERIVENTRICULAR]
    csf = in_fov & (tissue.csf.data > SURE_TISSUE) & (visit.contrasts[Contrast.FLAIR].data < DARK_FLAIR)
    csf &= np.isin(tissue.location.data, beside)
    grey = in_fov & (tissue.grey_matter.data > SURE_TISSUE)
    if not csf.any() or not grey.any():
        return None
    return float(median(data[grey])), float(median(data[csf]))
