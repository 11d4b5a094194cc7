"""Training at scale, in a contender's own process: how long each part takes, what is shuffled, spilled and stored."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import data, eventlog
from benchmarks.contender import Stopwatch, phase
from benchmarks.ours import _forest, _table, _version
from benchmarks.settings import CONTROL, FEATURES, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_uplift import UpliftForestModel

WARM_ROWS, WARM_TREES = 20_000, 4
_PASS = "%s %d nodes of %d trees from depth %d: %.1f s"  # how the engine tells of a pass


class Passes(logging.Handler):
    """Listens to the engine's log: when training began, and each pass with its kind, depth, nodes and seconds."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.began = 0.0
        self.passes: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of the engine."""
        if record.msg.startswith("strategy "):
            self.began = record.created
        elif record.msg == _PASS and isinstance(record.args, tuple):
            kind, nodes, trees, depth, seconds = record.args
            self.passes.append({
                "kind": kind, "nodes": nodes, "trees": trees, "depth": depth, "seconds": seconds,
                "start": record.created - float(seconds), "end": record.created,  # type: ignore[arg-type]
            })  # fmt: skip


@contextmanager
def listening() -> Iterator[Passes]:
    """Listen to the engine's log for as long as the context lasts."""
    logger, handler = logging.getLogger("spark_uplift.spark"), Passes()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _session(settings: Settings, job: Mapping[str, Any]) -> Iterator[tuple[SparkSession, Path]]:
    """Start Spark, local or on a cluster of its own, and yield the session and the folder of its event log."""
    import spark_uplift as su

    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-events-")))
        master = f"local[{settings.threads}]"
        conf = {"spark.driver.memory": job["driver_memory"], **eventlog.conf(log)}
        if "executors" in job:
            from tests.cluster.clusters import environment, standalone

            cores, memory = job["executor_cores"], job["executor_memory"]
            # A worker's memory only says what may be asked of it.
            master = stack.enter_context(standalone(job["executors"], cores, "16g"))
            conf |= {"spark.executor.memory": memory, "spark.executor.cores": str(cores)}
            os.environ |= {"PYTHONPATH": environment(log)["PYTHONPATH"]}
        spark = su.get_session("benchmarks", master=master, conf=conf)
        stack.callback(spark.stop)
        yield spark, log


def _fit(
    spark: SparkSession, settings: Settings, strategy: str = "data_parallel"
) -> tuple[UpliftForestModel, dict[str, Any]]:
    """Fit once, and return the model and when what happened."""
    with listening() as heard, Stopwatch() as watch:
        start = time.time()
        model = _forest(settings, strategy=strategy).fit(_table(spark, settings, settings.rows))
        end = time.time()
    return model, {
        "start": start, "began": heard.began, "end": end, "seconds": watch.seconds, "passes": heard.passes,
    }  # fmt: skip


def _warm_up(spark: SparkSession, settings: Settings) -> None:
    """Start Python workers and let the JVM compile: none of the figures is about that."""
    for strategy in ("data_parallel", "tree_parallel"):
        _fit(spark, replace(settings, rows=min(WARM_ROWS, settings.rows), trees=WARM_TREES), strategy)


def _fixed(spark: SparkSession, settings: Settings) -> float:
    """Return the seconds of a fit with all of its passes and next to no rows."""
    from spark_uplift.criteria import registry
    from spark_uplift.spark import dataset, plan, train
    from spark_uplift.spark.slots import parallelism

    small = replace(settings, rows=min(WARM_ROWS, settings.rows))
    forest = _forest(small, strategy="data_parallel")
    limits = replace(plan.Limits.of(parallelism(spark)), small_rows=0)
    with Stopwatch() as watch:
        prepared = dataset.prepare(
            _table(spark, small, small.rows), forest.columns(), CONTROL, max_bins=small.bins,
            needs_squares=registry.get("gradient").needs_squares, seed=small.seed,
        )  # fmt: skip
        train.train(prepared, forest.settings(len(FEATURES)), limits=limits)
    return watch.seconds


def _told(times: dict[str, Any], log: Path) -> dict[str, Any]:
    """Return the parts of a fit, from the engine's log and Spark's."""
    if not times["passes"]:
        raise RuntimeError("The engine's log told of no pass: has its wording changed?")
    stages, stored = eventlog.read(log)
    first = times["passes"][0]["start"]
    passes = []
    for found in times["passes"]:
        wrote = [x for x in eventlog.within(stages, found["start"] - 0.05, found["end"]) if x.written]
        # The first pass may move the packed rows before, when they lie in few partitions.
        moved = [] if passes else wrote[:-1]
        passes.append({
            **{key: found[key] for key in ("kind", "nodes", "trees", "depth", "seconds")},
            "shuffled": sum(stage.written for stage in wrote[len(moved) :]),
            "data": sum(stage.data for stage in wrote[len(moved) :]),
            "moved": sum(stage.written for stage in moved),
        })  # fmt: skip
    before = eventlog.within(stages, times["start"], times["began"])
    whole = eventlog.within(stages, times["start"], times["end"])
    return {
        "seconds": times["seconds"],
        "first_pass_seconds": times["began"] - times["start"],
        "pack_seconds": first - times["began"],
        "rest_seconds": times["end"] - times["passes"][-1]["end"],
        "passes": passes,
        "first_pass_shuffled": sum(stage.written for stage in before),
        "spilled": sum(stage.spilled for stage in whole),
        "stored_memory": stored.memory,
        "stored_disk": stored.disk,
        "storage_bytes": stored.room,
    }


def _about(settings: Settings, job: Mapping[str, Any]) -> dict[str, Any]:
    from spark_uplift.core.dtypes import PACKED
    from spark_uplift.core.records import record_words

    paths = data.files(settings.rows, f"{settings.work}/data", settings.seed)
    return {
        "version": _version(), "rows": settings.rows, "trees": settings.trees, "depth": settings.depth,
        "source_bytes": sum(Path(path).stat().st_size for path in paths),
        "packed_bytes": 8 * settings.rows * (record_words(len(FEATURES), PACKED) + 1),
        **{key: job[key] for key in ("driver_memory", "executors", "executor_cores", "executor_memory") if key in job},
    }  # fmt: skip


def fit(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Fit once with warm workers, on this machine or on a cluster of its own (when ``executors`` are asked for)."""
    with _session(settings, job) as (spark, log):
        with phase("warm-up"):
            _warm_up(spark, settings)
            fixed = _fixed(spark, settings) if job.get("fixed") else None
        with phase("fit"):
            model, times = _fit(spark, settings)
        spark.stop()  # so that the log is whole
        told = _told(times, log)
    return {**_about(settings, job), **told, "fixed_seconds": fixed, "digest": model.digest}


def strategies(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Fit by either strategy in turn, in one process with warm workers."""
    seconds: dict[str, list[float]] = {"data_parallel": [], "tree_parallel": []}
    digests = set()
    with _session(settings, job) as (spark, _):
        with phase("warm-up"):
            _warm_up(spark, settings)
        for _ in range(settings.repeats):
            for strategy, taken in seconds.items():
                with phase(strategy):
                    model, times = _fit(spark, settings, strategy)
                taken.append(times["seconds"])
                digests.add(model.digest)
    pairs = zip(seconds["data_parallel"], seconds["tree_parallel"], strict=True)
    return {
        **_about(settings, job), "seconds": seconds, "ratio": median(a / b for a, b in pairs),
        "digests": sorted(digests),
    }  # fmt: skip
