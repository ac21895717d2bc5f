"""Candidates at several levels of enhancement: the connected components above each level are a tree of nodes.

A lesion that merges with a vessel at a low level is separate at a higher one. The most probable node of a branch is the
lesion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.boxes import widened
from mri_pipeline.core.components import ConnectedComponents, structure
from mri_pipeline.core.crop import Crop
from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.robust import quantile
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid

_NODES = METHOD.gel_nodes


@dataclass(frozen=True, eq=False)
class Nodes:
    """Components above one level, with the features of the model.

    Parameters
    ----------
    components : ConnectedComponents
    features : ndarray of float, shape (components, features)
    allowed : ndarray of bool, shape (components,)
        False for components that cannot be a lesion.
    """

    components: ConnectedComponents
    features: FloatArray
    allowed: BoolArray


@dataclass(frozen=True, eq=False)
class AcceptedNodes:
    """Nodes that are lesions.

    Parameters
    ----------
    labels : ndarray of int32, shape (x, y, z)
        Lesions, numbered from 1 by descending probability.
    probabilities : tuple of float
        Probability of each lesion.
    """

    labels: NDArray[np.int32]
    probabilities: tuple[float, ...]


def components_at_levels(
    values: NDArray[np.float32], within: BoolArray, grid: Grid, *, least_level: float = 0.0
) -> Iterator[tuple[ConnectedComponents, ConnectedComponents]]:
    """Connected components of a map above each level, with their surroundings.

    Parameters
    ----------
    values : ndarray of float32, shape (x, y, z)
        Enhancement as a fraction of white matter.
    within : ndarray of bool, shape (x, y, z)
        Where lesions are searched for.
    grid : Grid
    least_level : float
        Lower levels are left out.

    Yields
    ------
    components, ring : ConnectedComponents
        At each level of `METHOD.gel_nodes.levels`: the components within its limits of size (`least_mm3`, `most_mm3`,
        `least_voxels`), and the voxels within its `ring_mm` of each. A level without components is left out.
    """
    spacing = np.round(grid.spacing_mm, 3)  # 1 mm up to floating-point error gives the ring of 1 mm
    reach = tuple(max(1, round(_NODES.ring_mm / s)) for s in spacing.tolist())
    least, most = (volume / grid.voxel_volume_mm3 for volume in (_NODES.least_mm3, _NODES.most_mm3))
    least = max(least, _NODES.least_voxels)
    for level in _NODES.levels:
        if level < least_level:
            continue
        components = ConnectedComponents.of(within & (values >= level))
        components = components.selected((components.sizes >= least) & (components.sizes <= most))
        if len(components.sizes):
            yield components, components.ring(within, reach)


def accepted_nodes(
    nodes: Sequence[Nodes],
    probabilities: Sequence[FloatArray],
    values: NDArray[np.float32],
    grid: Grid,
    *,
    within: BoolArray,
    taken: BoolArray,
    settings: GelSettings,
) -> AcceptedNodes:
    """Nodes that are lesions, apart from those that touch a known lesion.

    Of the nodes of one branch of the tree, the most probable one is the lesion. It extends to the connected voxels
    nearby that have at least half of its upper decile.

    Parameters
    ----------
    nodes : sequence of Nodes
    probabilities : sequence of ndarray of float, shape (components,)
        Of the components of each entry of `nodes`.
    values : ndarray of float32, shape (x, y, z)
        The map that the nodes are components of.
    grid : Grid
    within : ndarray of bool, shape (x, y, z)
        Where lesions are searched for. A lesion does not extend beyond it.
    taken : ndarray of bool, shape (x, y, z)
        Known lesions.
    settings : GelSettings

    Returns
    -------
    AcceptedNodes
    """
    ranked = sorted(
        (-float(probability), level, number)
        for level, at_level in enumerate(nodes)
        for number, probability in enumerate(probabilities[level] * at_level.allowed)
        if probability >= _NODES.least_probability
    )
    labels = np.zeros(taken.shape, dtype=np.int32)
    accepted: list[float] = []
    closed = widened(taken, (1, 1, 1)) | ~within
    margin = int(np.ceil(_NODES.reach_mm / min(grid.spacing_mm))) + 1
    for probability, level, number in ranked:
        components = nodes[level].components
        if closed.ravel()[components.voxels[components.number == number]].any():
            continue
        accepted.append(-probability)
        node = components.chosen(np.arange(len(components.sizes)) == number)
        box = Crop.around([node], grid, margin=margin).box
        lesion = _to_half_height(node[box], closed[box], values[box], grid.spacing_mm, settings)
        labels[box][lesion] = len(accepted)
        closed[box] |= widened(lesion, (1, 1, 1))
    return AcceptedNodes(labels, tuple(accepted))


def _to_half_height(
    node: BoolArray,
    closed: BoolArray,
    values: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    settings: GelSettings,
) -> BoolArray:
    """A node and the connected voxels within `reach_mm` above half of its peak."""
    bright = values >= settings.edge_share * float(quantile(values[node], settings.upper_quantile))
    near = within_reach(node, _NODES.reach_mm, spacing_mm)
    return np.asarray(ndimage.binary_propagation(node, structure(3), mask=node | (bright & near & ~closed)))
