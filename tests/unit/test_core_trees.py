"""Boosted trees: evaluation, and the file that keeps them."""

import json

import numpy as np
import pytest

from mri_pipeline.core.io.priors import T2_BASINS_FILE, load_trees, read_trees, save_trees
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.lesions.t2.basins import FEATURES

TWO = BoostedTrees(
    -1.0,
    np.array([[0, 1, 1], [1, 0, 0]]),
    np.array([[0.5, 1.0, 2.0], [10.0, 0.0, 0.0]]),
    np.array([[1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.4]]),
    ("a", "b"),
)


def by_hand(model, row):
    score = model.intercept
    for features, thresholds, leaves in zip(model.features, model.thresholds, model.leaves, strict=True):
        node = 0
        while node < len(features):
            node = 2 * node + (2 if row[features[node]] > thresholds[node] else 1)
        score += leaves[node - len(features)]
    return 1 / (1 + np.exp(-score))


def test_each_row_follows_the_trees():
    rows = np.random.default_rng(0).uniform(-3, 12, (50, 2))
    assert TWO.probability(rows) == pytest.approx([by_hand(TWO, row) for row in rows])


def test_a_value_at_the_threshold_goes_left():
    assert TWO.probability(np.array([[0.5, 1.0]]))[0] == pytest.approx(1 / (1 + np.exp(1.0 - 1.0 - 0.2)))


def test_no_rows_give_no_probabilities():
    assert TWO.probability(np.zeros((0, 2))).shape == (0,)


def test_the_file_keeps_four_digits(tmp_path):
    model = BoostedTrees(0.123456, TWO.features, TWO.thresholds * 1.23456, TWO.leaves, TWO.names)
    read = read_trees(save_trees(model, tmp_path / "trees.json"))
    assert read.intercept == pytest.approx(0.1235)
    assert read.thresholds[0, 0] == pytest.approx(0.6173)
    assert read.names == model.names
    assert np.array_equal(read.features, model.features)
    assert json.loads((tmp_path / "trees.json").read_text())["trees"][1]["leaves"] == [0.1, 0.2, 0.3, 0.4]


def test_the_model_of_the_package_has_the_features_of_the_candidates():
    model = load_trees(T2_BASINS_FILE)
    assert model.names == FEATURES
    assert model.features.max() < len(FEATURES)
