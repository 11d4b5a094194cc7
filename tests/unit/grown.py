"""A small forest grown in memory, without Spark: numbers, a category and missing values, two treatments."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spark_uplift.core import fixedpoint, growing, records
from spark_uplift.core.binning import (
    FeatureBins,
    choose_levels,
    encode_levels,
    encode_numeric,
    weighted_edges,
)
from spark_uplift.core.forest import Forest
from spark_uplift.core.growing import ForestSpec
from spark_uplift.criteria import registry
from spark_uplift.criteria.signature import NORMALIZATION_CODES

HOSTILE = "in.come `€` %"
TOWN = "to\"wn's"


def rows(n: int = 600, seed: int = 3) -> pd.DataFrame:
    """Return features: a number with gaps, another one, and a category with gaps."""
    rng = np.random.default_rng(seed)
    income = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    town = rng.choice(np.array(["ash", "birch", "cedar", None], dtype=object), n)
    return pd.DataFrame({HOSTILE: income, "age": rng.integers(18, 80, n).astype(float), TOWN: town})


def forest(n: int = 600, trees: int = 8, intervals: bool = False) -> Forest:
    """Grow a forest on `rows`; the effect of ``b 1`` depends on the number, that of ``a/2 %`` on the town."""
    frame = rows(n)
    rng = np.random.default_rng(7)
    arm = rng.integers(0, 3, n).astype(np.uint8)
    tau = np.where(arm == 1, (frame[TOWN] == "ash") * 0.6 - 0.2, 0.0)
    tau = tau + np.where(arm == 2, (frame[HOSTILE].fillna(0) > 0) * 0.8 - 0.4, 0.0)
    outcome = (rng.random(n) < np.clip(0.4 + tau, 0, 1)).astype(float)
    features = (
        FeatureBins(HOSTILE, weighted_edges(frame[HOSTILE].to_numpy(), None, 16)),
        FeatureBins("age", weighted_edges(frame["age"].to_numpy(), None, 16)),
        choose_levels(TOWN, frame[TOWN].value_counts().to_dict()),
    )
    codes = np.empty((n, 3), np.uint8)
    for j, bins in enumerate(features[:2]):
        encode_numeric(bins, frame[bins.name].to_numpy(), j, codes)
    codes[:, 2] = [encode_levels(features[2], [town])[0] for town in frame[TOWN]]
    grid = fixedpoint.choose(
        rows=n,
        outcome_bound=1.0,
        outcome_whole=True,
        outcome_binary=True,
        weight_bound=None,
        needs_squares=False,
    )
    spec = ForestSpec(
        n_codes=np.array([bins.n_codes for bins in features], np.int64),
        categorical=np.array([bins.categorical for bins in features]),
        n_arms=3,
        grid=grid,
        num_trees=trees,
        max_depth=4,
        min_node=20,
        min_arm=5,
        n_reg=10.0,
        shrinkage=10.0,
        normalization=NORMALIZATION_CODES["paper"],
        features_per_node=3,
        bootstrap=True,
        subsampling_rate=1.0,
        honest=False,
        intervals=intervals,
        seed=1,
        prior=(0.0, 0.0),
    )
    words = records.pack(codes, arm, fixedpoint.lanes(grid, outcome, None), grid.layout)
    units = rng.integers(0, 2**63, n).astype(np.uint64)
    grown = dict(growing.grow_trees(words, units, spec, registry.get("gradient").gain, range(trees)))
    return Forest(
        features=features,
        control="no offer",
        treatments=("a/2 %", "b 1"),
        grid=grid,
        trees=tuple(grown[i] for i in range(trees)),
        little_bags=intervals,
        training={"rows": n, "settings": {"numTrees": trees, "featureCols": [HOSTILE, "age", TOWN]}},
    )


def walked(model: Forest, frame: pd.DataFrame) -> np.ndarray:
    """Return the effects by walking every tree with Python's own comparisons: slow and obvious."""
    found = np.zeros((len(frame), len(model.treatments)))
    for i, (_, row) in enumerate(frame.iterrows()):
        for tree in model.trees:
            node = 0
            while tree.left_child[node] >= 0:
                bins = model.features[tree.feature[node]]
                value = row[bins.name]
                if bins.levels is None:
                    code = (
                        0
                        if value is None or np.isnan(value)
                        else 1 + sum(value > edge for edge in bins.edges)
                    )
                    left = bool(tree.missing_left[node]) if code == 0 else code <= tree.threshold[node]
                else:
                    known = value in bins.levels
                    code = bins.levels.index(value) + 1 if known else 0 if value is None else bins.unseen_code
                    left = bool(int(tree.mask[node, code // 64]) >> (code % 64) & 1)
                node = int(tree.left_child[node]) + (0 if left else 1)
            found[i] += tree.effect[node]
    return found / len(model.trees)
