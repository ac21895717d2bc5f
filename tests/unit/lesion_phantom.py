"""A head of blocks for the tests of the detectors: white matter, cortex, ventricle, and what a test puts in."""

from collections.abc import Sequence

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2.basins import FEATURES

SHAPE_MM = (72, 84, 66)
NORMAL = {
    Contrast.FLAIR: (1.0, 1.15, 0.3),
    Contrast.T1W: (1.0, 0.7, 0.3),
    Contrast.T1W_GD: (1.0, 0.75, 0.3),
    Contrast.T2W: (1.0, 1.4, 3.0),
}
"""White matter, grey matter, CSF."""


def constant_model(log_odds: float) -> BoostedTrees:
    """A model that gives every candidate of `t2.basins` the same probability."""
    return BoostedTrees(log_odds, np.zeros((1, 0), dtype=int), np.zeros((1, 0)), np.zeros((1, 1)), FEATURES)


RULE_ALONE = constant_model(-100.0)
"""Accepts no candidate: the T2 rule alone."""


class Head:
    """Images that can be painted in millimetres."""

    def __init__(
        self, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), noise: float = 0.06, seed: int = 1
    ) -> None:
        shape = tuple(int(n / s) for n, s in zip(SHAPE_MM, spacing, strict=True))
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = -np.array(SHAPE_MM) / 2
        self.grid = Grid(shape, affine)
        x, y, z = (self.grid.affine[i, i] * np.arange(n) + affine[i, 3] for i, n in enumerate(shape))
        self.at = np.meshgrid(x, y, z, indexing="ij")
        radius = np.sqrt(sum((a / (n / 2)) ** 2 for a, n in zip(self.at, SHAPE_MM, strict=True)))
        self.brain = radius < 0.95
        self.csf = self.inside((0, 0, 0), 7)
        self.grey = self.brain & (radius > 0.8)
        self.white = self.brain & ~self.grey & ~self.csf
        rng = np.random.default_rng(seed)
        self.data = {}
        for contrast, (white, grey, csf) in NORMAL.items():
            values = white * self.white + grey * self.grey + csf * self.csf
            self.data[contrast] = values + rng.normal(0, noise, shape) * self.brain

    def inside(self, centre: Sequence[float], radius: float):
        """A ball in mm."""
        return np.sqrt(sum((a - c) ** 2 for a, c in zip(self.at, centre, strict=True))) <= radius

    def paint(self, where, **values: float) -> None:
        """Set tissue to multiples of white matter, by the name of the contrast."""
        for name, value in values.items():
            self.data[Contrast[name]][where] += value - np.median(self.data[Contrast[name]][where])

    def visit(self, *contrasts: Contrast) -> VisitImages:
        return VisitImages(
            {c: Image(self.data[c].astype(np.float32), self.grid) for c in contrasts},
            LabelImage(self.brain, self.grid),
        )

    def tissue(self, prior: float = 0.03) -> TissueMaps:
        def image(mask) -> Image:
            return Image(mask.astype(np.float32), self.grid)

        return TissueMaps(
            image(self.white),
            image(self.grey),
            image(self.csf),
            LabelImage(
                np.where(self.inside((0, 0, 0), 11), 1, 4) * self.brain, self.grid
            ),  # beside the ventricle, or deep
            image(prior * self.brain),
            Affine.identity(),
        )

    def labels(self, where) -> LabelImage:
        return LabelImage(where, self.grid)
