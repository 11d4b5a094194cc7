"""The data, made once as Parquet: Criteo-shaped rows with known effect (`synthetic.criteo_like`).

Rows come in files of a fixed size, each with its own seed, so a larger table begins with the files of a
smaller one and nothing is made twice. Columns: id, arm ("control" or "treatment"), outcome (0 or 1), f0 … f11
(double), tau.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.settings import CONTROL, FEATURES, N_FEATURES

CHUNK = 250_000
TEST_SEED = 1_000_003  # far from every training file's seed


def files(rows: int, folder: str | Path, seed: int = 1, chunk: int = CHUNK) -> list[str]:
    """Return the paths of a table of ``rows`` rows, whether or not they are there yet."""
    sizes = [min(chunk, rows - first) for first in range(0, rows, chunk)]
    return [
        str(Path(folder).resolve() / f"seed-{seed}" / f"part-{k:04d}-{n}.parquet")
        for k, n in enumerate(sizes)
    ]


def make(rows: int, folder: str | Path, seed: int = 1, chunk: int = CHUNK) -> list[str]:
    """Make the files that are missing, and return the paths of a table of ``rows`` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from spark_uplift import synthetic

    paths = files(rows, folder, seed, chunk)
    for k, path in enumerate(paths):
        if Path(path).exists():
            continue
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        made = synthetic.criteo_like(min(chunk, rows - k * chunk), seed * 100_003 + k, N_FEATURES)
        columns: dict[str, Any] = {
            "id": np.arange(len(made.arm), dtype=np.int64) + k * chunk,
            "arm": np.array(made.arm_names)[made.arm],
            "outcome": made.outcome,
            **{name: made.features[:, j] for j, name in enumerate(FEATURES)},
            "tau": made.tau[:, 0],
        }
        unfinished = f"{path}.unfinished"
        pq.write_table(pa.table(columns), unfinished)
        os.replace(unfinished, path)  # a run that is killed leaves no half file behind
    return paths


def held_out_files(rows: int, folder: str | Path, seed: int = 1) -> list[str]:
    """Return the paths of the held-out rows."""
    return files(rows, folder, seed + TEST_SEED)


def make_held_out(rows: int, folder: str | Path, seed: int = 1) -> list[str]:
    """Make the held-out rows."""
    return make(rows, folder, seed + TEST_SEED)


def read(paths: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return a table in memory, as peers want it.

    Returns
    -------
    dict
        ``x`` ndarray of shape (n, 12), dtype=float64; ``treated`` and ``y`` of shape (n,), dtype=int64, 0 or
        1; ``tau`` of shape (n,), dtype=float64.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.read_table(path) for path in paths])
    arm = table["arm"].combine_chunks()
    return {
        "x": np.column_stack([table[name].to_numpy() for name in FEATURES]),
        "treated": (arm.to_numpy(zero_copy_only=False) != CONTROL).astype(np.int64),
        "y": table["outcome"].to_numpy().astype(np.int64),
        "tau": table["tau"].to_numpy(),
    }
