"""What runs inside a contender's own process: ``python -m benchmarks.contender JOB.json``.

The job file names the contender, its settings and the file its result goes to. Phases are told to the parent
on standard output, so that it knows which of its memory samples belong to which phase. Both the engine's
interpreter and the peers' run this file; nothing is imported that the other lacks.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.settings import Settings

PHASE = "@phase "

# contender -> module and function, which takes (Settings, the job's other entries) and returns JSON values
CONTENDERS = {
    "ours": "benchmarks.ours:fit",
    "ours-honest": "benchmarks.ours:fit",
    "ours-transform": "benchmarks.ours:transform",
    "ours-memory": "benchmarks.ours:memory",
    "ours-breakdown": "benchmarks.ours:breakdown",
    "ours-scale": "benchmarks.scale:fit",
    "ours-strategies": "benchmarks.scale:strategies",
    "ours-scoring": "benchmarks.scoring:score",
    "ours-evaluation": "benchmarks.evaluation:evaluate",
    "sklift-metrics": "benchmarks.evaluation:resample",
    "causalml-metrics": "benchmarks.evaluation:resample",
    "coverage": "benchmarks.coverage:simulate",
    "ours-decide": "benchmarks.decide:decide",
    "counting": "benchmarks.costs:counting_kernel",
    "kernel": "benchmarks.kernel:run",
    "first-call": "benchmarks.kernel:first_call",
    "ydf": "benchmarks.peers:ydf_fit",
    "ydf-sqrt": "benchmarks.peers:ydf_fit",
    "ydf-predict": "benchmarks.peers:ydf_predict",
    "h2o": "benchmarks.peers:h2o_fit",
    "lightgbm": "benchmarks.peers:lightgbm_fit",
    "causalml": "benchmarks.peers:causalml_fit",
    "econml": "benchmarks.peers:econml_fit",
}


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Tell the parent that a phase begins, and that it has ended."""
    print(PHASE + name, flush=True)
    try:
        yield
    finally:
        print(PHASE + "other", flush=True)


class Stopwatch:
    """Seconds of wall clock, by ``with``."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started


def quality(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> dict[str, float]:
    """Return Pearson and Spearman correlation of the predicted effect with the true one, and their means."""
    from scipy.stats import rankdata

    p, t = np.asarray(predicted, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    if p.shape != t.shape:
        raise ValueError(f"Predictions must be one a row. Got {p.shape[0]} for {t.shape[0]} rows instead.")
    if np.ptp(p) == 0.0:  # the same number for everybody says nothing
        return {"pearson": 0.0, "spearman": 0.0, "mean": float(p.mean()), "mean_true": float(t.mean())}
    return {
        "pearson": float(np.corrcoef(p, t)[0, 1]),
        "spearman": float(np.corrcoef(rankdata(p), rankdata(t))[0, 1]),
        "mean": float(p.mean()),
        "mean_true": float(t.mean()),
    }


def main(path: str) -> None:
    """Run the contender of a job file."""
    settings, job = Settings.read(path)
    module, function = CONTENDERS[job["contender"]].split(":")
    result: dict[str, Any] = getattr(importlib.import_module(module), function)(settings, job)
    Path(job["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
