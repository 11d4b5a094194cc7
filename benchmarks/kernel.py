"""The kernels without Spark: CPU per row, tree and level, and per scored row; a fresh process' first call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import data
from benchmarks.contender import Stopwatch, phase
from benchmarks.settings import FEATURES, Settings


def _cpu(action: Callable[[], Any], repeats: int) -> tuple[Any, list[float]]:
    """Return the action's last result, and the CPU seconds of its thread, run by run."""
    seconds = []
    for _ in range(repeats):
        started = time.thread_time()
        found = action()
        seconds.append(time.thread_time() - started)
    return found, seconds


def _bins(rows: dict[str, npt.NDArray[Any]], bins: int) -> tuple[Any, ...]:
    from spark_uplift.core.binning import FeatureBins, weighted_edges

    sample = rows["x"][:100_000]
    return tuple(
        FeatureBins(name, weighted_edges(sample[:, j], None, bins)) for j, name in enumerate(FEATURES)
    )


def _encode(bins: tuple[Any, ...], columns: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.uint8]:
    from spark_uplift.core.binning import encode_numeric

    codes = np.empty((columns[0].shape[0], len(bins)), np.uint8)
    for j, feature in enumerate(bins):
        encode_numeric(feature, columns[j], j, codes)
    return codes


def _grower(
    settings: Settings, rows: dict[str, npt.NDArray[Any]], bins: tuple[Any, ...], codes: Any
) -> Callable[[], Any]:
    """Return what a training task does once the rows are in its memory."""
    from spark_uplift.core import fixedpoint, growing, records
    from spark_uplift.core.growing import ForestSpec
    from spark_uplift.criteria import registry
    from spark_uplift.criteria.signature import NORMALIZATION_CODES

    n = codes.shape[0]
    grid = fixedpoint.choose(
        rows=n,
        outcome_bound=1.0,
        outcome_whole=True,
        outcome_binary=True,
        weight_bound=None,
        needs_squares=False,
    )
    lanes = fixedpoint.lanes(grid, rows["y"].astype(np.float64), None)
    words = records.pack(codes, rows["treated"].astype(np.uint8), lanes, grid.layout)
    units = np.random.default_rng(settings.seed).integers(0, 2**64, n, np.uint64)
    effect = float(rows["y"][rows["treated"] == 1].mean() - rows["y"][rows["treated"] == 0].mean())
    spec = ForestSpec(
        n_codes=np.array([b.n_codes for b in bins], np.int64), categorical=np.zeros(len(bins), np.bool_),
        n_arms=2, grid=grid, num_trees=settings.trees, max_depth=settings.depth, min_node=settings.min_node,
        min_arm=settings.min_arm, n_reg=100.0, shrinkage=500.0, normalization=NORMALIZATION_CODES["paper"],
        features_per_node=len(bins), bootstrap=True, subsampling_rate=1.0, honest=False, intervals=False,
        seed=settings.seed, prior=(effect,),
    )  # fmt: skip
    gain = registry.get("gradient").gain
    return lambda: [tree for _, tree in growing.grow_trees(words, units, spec, gain, range(settings.trees))]


def run(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Time growing and predicting in one thread."""
    from spark_uplift.core import prediction

    with phase("prepare"):
        rows = data.read(data.files(settings.rows, f"{settings.work}/data", settings.seed))
        bins = _bins(rows, settings.bins)
        columns = [np.ascontiguousarray(rows["x"][:, j]) for j in range(len(bins))]
        small = {key: values[:5000] for key, values in rows.items()}
        _grower(settings, small, bins, _encode(bins, [c[:5000] for c in columns]))()
        codes, encode = _cpu(lambda: _encode(bins, columns), settings.repeats)
        grow = _grower(settings, rows, bins, codes)
    with phase("grow"):
        trees, seconds = _cpu(grow, settings.repeats)
    packed = prediction.pack((trees * -(-job["predict_trees"] // len(trees)))[: job["predict_trees"]])
    batch = codes[:10_000]  # what Spark sends at a time
    prediction.predict(packed, batch)
    batches = max(1, min(codes.shape[0], 500_000) // batch.shape[0])
    with phase("predict"):
        _, predict = _cpu(
            lambda: [
                prediction.predict(packed, codes[i * len(batch) : (i + 1) * len(batch)])
                for i in range(batches)
            ],
            settings.repeats,
        )
    n = settings.rows
    return {
        "rows": n,
        "trees": len(trees),
        "depth": settings.depth,
        "leaves": float(np.mean([tree.is_leaf.sum() for tree in trees])),
        "grow_cpu_seconds": seconds,
        "grow_ns": [s / (n * len(trees) * settings.depth) * 1e9 for s in seconds],
        "encode_us": [s / n * 1e6 for s in encode],
        "predict_trees": packed.n_trees,
        "predict_us": [s / (batches * len(batch)) * 1e6 for s in predict],
    }


def first_call(settings: Settings, _: dict[str, Any]) -> dict[str, Any]:
    """Time the first use of the kernels in this process, its imports apart."""
    with Stopwatch() as numpy_and_numba:
        import numba  # noqa: F401
    with Stopwatch() as ours:
        from spark_uplift.core import growing, prediction  # noqa: F401
        from spark_uplift.criteria import registry  # noqa: F401
    rng = np.random.default_rng(settings.seed)
    n = settings.rows
    rows = {
        "x": rng.standard_normal((n, len(FEATURES))),
        "treated": rng.integers(0, 2, n),
        "y": rng.integers(0, 2, n),
    }
    with Stopwatch() as encoding:
        bins = _bins(rows, settings.bins)
        codes = _encode(bins, [np.ascontiguousarray(rows["x"][:, j]) for j in range(len(bins))])
    with Stopwatch() as growing_first:
        trees = _grower(settings, rows, bins, codes)()
    with Stopwatch() as predicting_first:
        prediction.predict(prediction.pack(trees), codes)
    return {
        "rows": n,
        "import_numba_seconds": numpy_and_numba.seconds,
        "import_ours_seconds": ours.seconds,
        "encode_seconds": encoding.seconds,
        "grow_seconds": growing_first.seconds,
        "predict_seconds": predicting_first.seconds,
    }
