"""Fit small forests and print their digests.

One argument, a JSON object; all of it is optional::

    {"master": "spark://…", "conf": {…}, "rows": 2000,
     "fits": {"name": {"partitions": 2, "shuffle": 0, "settings": {…}}}}

A fit may have ``rows`` of its own. ``shuffle`` is the seed of the rows' order (0: as they were made), ``settings``
override those of `tests.spark.forests`, ``limits`` those of the passes (`spark_uplift.spark.plan.Limits`). Prints
``FITTING name`` before each fit, ``GROWING name`` when its trees begin to grow, ``KEPT n`` after each pass that a
checkpoint keeps, then ``{"digests": {name: …}, "digest": the first, "kept": the passes}``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import spark_uplift as su
from spark_uplift.learners import forest as learner
from spark_uplift.spark.checkpoint import Checkpoint
from tests.spark.forests import experiment, forest, to_spark

_TRAIN = learner.train
_SAVE = Checkpoint.save
KEPT: list[int] = []


def announce_state(self: Checkpoint, step: int, state: dict[str, Any]) -> None:
    """Say that a pass was kept."""
    _SAVE(self, step, state)
    KEPT.append(step)
    print(f"KEPT {step}", flush=True)


def announce_growth(name: str) -> None:
    """Say when binning has ended and trees begin to grow."""

    def train(*args: Any) -> Any:
        print(f"GROWING {name}", flush=True)
        return _TRAIN(*args)

    learner.train = train


def main(argv: list[str]) -> int:
    """Fit what the argument asks for."""
    asked: dict[str, Any] = json.loads(argv[0]) if argv else {}
    Checkpoint.save = announce_state  # type: ignore[method-assign]
    spark = su.get_session("fit_digest", master=asked.get("master"), conf=asked.get("conf"))
    digests: dict[str, str] = {}
    for name, fit in (asked.get("fits") or {"default": {}}).items():
        data = experiment(fit.get("rows", asked.get("rows", 2000)))
        seed = fit.get("shuffle", 0)
        rows = data.sample(frac=1.0, random_state=seed) if seed else data
        df = to_spark(spark, rows, fit.get("partitions", 2))
        print(f"FITTING {name}", flush=True)
        announce_growth(name)
        learned = forest(**fit.get("settings", {})).setLimits(**fit.get("limits", {})).fit(df)
        digests[name] = learned.digest
    print(json.dumps({"digests": digests, "digest": next(iter(digests.values())), "kept": KEPT}), flush=True)
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
