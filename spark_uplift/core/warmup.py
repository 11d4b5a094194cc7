"""Compiling the kernels ahead of their first use: ``python -m spark_uplift.core.warmup``.

Compiled kernels are cached on disk (see `spark_uplift.core.jit`), so doing this once on a machine, or while an image is
built, spares the first job and every fresh worker the compilation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from spark_uplift.core import binning, counting, fixedpoint, growing, jit, prediction, records, sampling
from spark_uplift.core.dtypes import FixedPoint
from spark_uplift.core.grower import Grower

_ROWS = 64


def _spec(grid: FixedPoint, honest: bool) -> growing.ForestSpec:
    return growing.ForestSpec(
        n_codes=np.array([5, 4], np.int64),
        categorical=np.array([False, True]),
        n_arms=2,
        grid=grid,
        num_trees=1,
        max_depth=2,
        min_node=2,
        min_arm=1,
        n_reg=1.0,
        shrinkage=1.0,
        normalization=1,
        features_per_node=2,
        bootstrap=True,
        subsampling_rate=1.0,
        honest=honest,
        intervals=False,
        seed=1,
        prior=(0.0,),
    )


def _level_by_level(words: Any, units: Any, spec: growing.ForestSpec, gain: Callable[..., Any]) -> None:
    grower = Grower(spec, gain)
    while groups := grower.frontier():
        group = counting.lay_out(grower.trees_so_far(), groups[0])
        cells = np.zeros(group.length, np.int64)
        counting.add_block(spec, group, words, units, cells)
        for bag, _ in counting.gather_block(spec, group, words, units):
            growing.grow_below(bag.copy(), spec, gain, 0, 1, np.zeros(2))
        histograms = np.split(cells, group.ends[1:-1])
        grower.advance({node.key: h for node, h in zip(groups[0], histograms, strict=True)})
    arrays = counting.leaf_arrays(grower.trees_so_far())
    counting.add_leaves(spec, arrays, words, units, np.zeros((arrays["ends"][-1], 2, 5), np.int64))


def compile_kernels(gain: Callable[..., Any]) -> float:
    """Run every kernel of training and scoring once on a few rows; return the seconds that it took.

    Parameters
    ----------
    gain : C callback
        Any criterion's gain: they are all of one type to the kernels.
    """
    started = time.monotonic()
    i = np.arange(_ROWS)
    codes = np.column_stack([1 + i % 4, 1 + i % 3]).astype(np.uint8)
    outcome = ((i % 5) % 2).astype(np.float64)
    units = i.astype(np.uint64)
    bins = binning.FeatureBins("x", edges=(0.5, 1.5, 2.5))
    read_only = outcome.copy()
    read_only.flags.writeable = False  # as arrays over Arrow's memory are; to numba that is another type
    for values in (outcome, read_only):
        binning.encode_numeric(bins, values, 0, codes.copy())
    sampling.mix(1, sampling.EDGES, 0, units)
    sampling.poisson_counts(1, sampling.REPLICATE, 0, units)
    trees = []
    for weight in (None, 1.0 + outcome):
        grid = fixedpoint.choose(
            rows=_ROWS,
            outcome_bound=1.0,
            outcome_whole=True,
            outcome_binary=True,
            weight_bound=None if weight is None else 2.0,
            needs_squares=False,
        )
        words = records.pack(
            codes, (i % 2).astype(np.uint8), fixedpoint.lanes(grid, outcome, weight), grid.layout
        )
        for honest in (False, True):
            trees += [tree for _, tree in growing.grow_trees(words, units, _spec(grid, honest), gain, [0])]
            _level_by_level(words, units, _spec(grid, honest), gain)
    packed = prediction.pack(trees)
    prediction.predict(packed, codes)
    prediction.predict_squares(packed, codes)
    prediction.leaves(packed, codes, 0)
    return time.monotonic() - started


def main() -> None:
    """Compile the kernels, and say where they are kept."""
    # The registry is above this layer; a program that is run may know it, a module that is imported must not.
    from importlib import import_module

    criteria = import_module("spark_uplift.criteria.registry").CRITERIA.values()
    gains = [criterion.gain for criterion in criteria]
    seconds = compile_kernels(gains[0])
    place = jit.CACHE_DIR or "memory only: no folder could be written"
    print(f"kernels ready in {seconds:.1f} s ({place})")  # noqa: T201


if __name__ == "__main__":
    main()
