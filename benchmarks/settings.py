"""What is run: one set of settings for every contender, and the ratios that are aimed at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

N_FEATURES = 12
FEATURES = [f"f{i}" for i in range(N_FEATURES)]
CONTROL = "control"

SECTIONS = (
    "fit", "kernel", "transform", "memory", "cold", "breakdown", "counting", "scale", "strategies", "executors",
    "spill", "scoring", "campaigns", "coverage", "decide", "evaluation",
)  # fmt: skip
LARGE_SECTIONS = (
    "scale", "strategies", "executors", "spill", "scoring", "coverage", "decide", "evaluation",
)  # fmt: skip
"""Run only when asked for: they take hours, or 12 GB of data."""

FULL_PEERS = ("ydf", "ydf-sqrt", "h2o", "lightgbm")
"""Peers that take all rows in minutes."""
SMALL_PEERS = ("causalml", "econml")
"""Peers that are run on fewer rows, beside ours on the same rows."""
METRIC_PEERS = ("sklift", "causalml")
"""Peers that compute metrics of scored rows."""

# How many times the engine's seconds a peer should take: (peer, trees) -> ratio.
FIT_TARGETS = {
    ("ydf", 20): 25.0,
    ("h2o", 20): 12.0,
    ("ydf", 100): 50.0,
    ("h2o", 100): 30.0,
    ("lightgbm", 100): 1.0,
}
KERNEL_NS = 12.0  # CPU nanoseconds per row, tree and level
TRANSFORM_RATIO = 5.0  # YDF's seconds a row over ours
COLD_SECONDS = 1.0
SCALE_EXPONENT = 1.05  # of seconds in rows
SCALE_SECONDS = (100_000_000, 100, 6, 30 * 60.0)  # rows, trees, depth: seconds
SCALE_BYTES = 12 * 2**30  # JVM and Python workers together
STRATEGY_RATIO = 2.0  # data_parallel's seconds over tree_parallel's
EXECUTOR_RATIO = 1.6  # one executor's seconds over two executors'
COVERAGE_RANGE = (0.93, 0.97)  # of 95 % intervals
EVALUATION_RATIO = 20.0  # a peer's seconds over ours, for the same intervals
EVALUATION_GROWTH = 1.25  # most that the largest table's peak memory may be of the smallest one's
SPILL_RATIO = 5.0  # packed rows over the executors' memory


def memory_limit_mb(rows: int, features: int = N_FEATURES) -> float:
    """Return the most a training worker should hold [MB]: three times the binned bytes, and 300 MB."""
    return 3 * rows * features / 1e6 + 300.0


@dataclass(frozen=True)
class Settings:
    """Shared by all contenders.

    Attributes
    ----------
    rows, test_rows : int
        Training rows, and rows with known effect that predictions are compared with.
    trees, depth, bins : int
        Trees (or boosting rounds an arm), levels of splits, bins a feature.
    min_node, min_arm : int
        Least rows in a leaf, and of one arm in a leaf.
    threads : int
    repeats : int
        Warm runs of ours in a process; the median counts.
    seed : int
    work : str
        Folder for data, logs and results.
    """

    rows: int
    test_rows: int = 200_000
    trees: int = 20
    depth: int = 8
    bins: int = 64
    min_node: int = 200
    min_arm: int = 20
    threads: int = 2
    repeats: int = 3
    seed: int = 1
    work: str = "benchmarks/out"

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, path: str | Path) -> tuple[Settings, dict[str, Any]]:
        """Return the settings in a job file, and what the file says besides."""
        job = json.loads(Path(path).read_text())
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in job.items() if k in names}), {
            k: v for k, v in job.items() if k not in names
        }
