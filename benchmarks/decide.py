"""Deciding large lists: from scores in Parquet to decisions in Delta under two budgets and three capacities."""

from __future__ import annotations

import logging
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contender import Stopwatch, phase
from benchmarks.markdown import markdown, number, verdict
from benchmarks.scoring import cpu_seconds
from benchmarks.settings import CONTROL, Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Result = dict[str, Any]

SECONDS = (100_000_000, 300.0)  # rows: seconds on two cores
MEMORY_GROWTH = 1.25  # most that the largest list's peak may be of the smallest one's
GAP = 1e-3
WARM_ROWS = 1_000_000
TREATMENTS = ("call", "mail", "sms")
COSTS = {"call": 2.5, "mail": 0.6, "sms": 0.07}


def section(run: Callable[..., Result]) -> Callable[[Settings, Namespace], list[Result]]:
    """Return the section; ``run`` starts a contender."""

    def decide(settings: Settings, args: Namespace) -> list[Result]:
        """Decide lists of growing size, each in a process of its own."""
        return [
            run("ours-decide", replace(settings, rows=rows), args, driver_memory=args.driver_memory)
            for rows in args.scale_rows
        ]

    return decide


def scores(spark: SparkSession, rows: int) -> DataFrame:
    """Return made-up scores: a text id, three uplifts, a region and past contacts; arithmetic on hashes."""
    from pyspark.sql import functions as F

    def draw(stream: int) -> Any:
        return F.shiftrightunsigned(F.xxhash64("id", F.lit(stream)), 11).cast("double") / 2.0**53

    warm = draw(1)  # units that like one message like the others
    uplift = [
        (0.10 * warm + 0.12 * draw(2) - 0.06),
        (0.06 * warm + 0.05 * draw(3) - 0.03),
        (0.02 * warm + 0.03 * draw(4) - 0.015),
    ]
    regions = F.array(*[F.lit(r) for r in ("east", "north", "south", "west")])
    region = F.element_at(regions, (draw(5) * 4).cast("int") + 1)
    return spark.range(rows).select(
        F.concat(F.lit("c"), F.col("id").cast("string")).alias("unit_id"),
        F.array(*uplift).alias("uplift"),
        region.alias("region"),
        (draw(6) * 5).cast("int").alias("contacts_30d"),
    )


def limits(rows: int) -> dict[str, Any]:
    """Return two budgets and three capacities in proportion to the list; most of them bind."""
    return {
        "budgets": [
            {"name": "total", "limit": 0.12 * rows},
            {"name": "people", "limit": 0.09 * rows, "arms": ["call", "mail"]},
        ],
        "capacities": [
            {"arm": "call", "limit": rows // 100},
            {"arm": "mail", "limit": rows // 8},
            {"arm": "sms", "limit": rows // 20, "segment": "north"},
        ],
        "segmentCol": "region",
        "exclusions": {"call": "contacts_30d >= 4"},
        "explore": 0.01,
    }


def decide(settings: Settings, job: Result) -> Result:
    """Make scores, decide a short list to warm up, then the list of ``rows`` once."""
    import spark_uplift as su
    from benchmarks.ours import _version

    folder = Path(settings.work).resolve() / f"decide-{settings.rows}"
    shutil.rmtree(folder, ignore_errors=True)
    spark = su.get_session(
        "benchmarks", master=f"local[{settings.threads}]", conf={"spark.driver.memory": job["driver_memory"]}
    )
    parts = _parts()
    try:
        with phase("scores"):
            for rows in {settings.rows, min(settings.rows, WARM_ROWS)}:
                scores(spark, rows).write.mode("overwrite").parquet(str(folder / f"scores-{rows}"))
        with phase("warm-up"):
            _decide(spark, folder, min(settings.rows, WARM_ROWS), "warm-up")
        parts.clear()
        before = cpu_seconds()
        with phase("decide"), Stopwatch() as watch:
            found = _decide(spark, folder, settings.rows, "list")
        spent = cpu_seconds() - before
        size = sum(f.stat().st_size for f in (folder / "warehouse" / "decisions").glob("*.parquet"))
    finally:
        spark.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "version": _version(), "rows": settings.rows, "threads": settings.threads, "seconds": watch.seconds,
        "cpu_seconds": spent, "bytes": size, "parts": parts, **found,
    }  # fmt: skip


def _parts() -> dict[str, float]:
    """Return a dict that the steps of a decision add their seconds to."""
    from spark_uplift.spark import decide as module
    from spark_uplift.spark import decide_passes

    seconds: dict[str, float] = {}

    def watched(owner: Any, name: str, title: str) -> None:
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[title] = seconds.get(title, 0.0) + time.perf_counter() - started

        setattr(owner, name, call)

    watched(module, "_facts", "read and pack")
    watched(module, "_repeated", "ids twice?")
    watched(decide_passes, "solve_sample", "prices of a sample")
    watched(decide_passes, "solve_core", "prices of the core")
    watched(decide_passes, "account", "count")
    return seconds


def _decide(spark: SparkSession, folder: Path, rows: int, list_id: str) -> Result:
    """Decide, write all three tables, and read back what is there."""
    from pyspark.sql import functions as F

    import spark_uplift as su
    from spark_uplift.spark import tables

    logging.getLogger("spark_uplift").setLevel(logging.INFO)
    warehouse = str(folder / "warehouse")
    keys = {"run_id": "benchmark", "model_id": "benchmark", "list_id": list_id}
    result = su.decide(
        spark.read.parquet(str(folder / f"scores-{rows}")), idCol="unit_id", treatmentNames=TREATMENTS,
        controlName=CONTROL, value=60.0, costs=COSTS, **limits(rows),
    )  # fmt: skip
    tags = {**{key: F.lit(value) for key, value in keys.items()}, "decided_at": F.current_timestamp()}
    started = time.perf_counter()
    tables.write(spark, result.decisions.withColumns(tags), warehouse, "decisions", txn=None, **keys)
    writing = time.perf_counter() - started
    for name in ("summary", "constraints"):
        found = getattr(result, name).withColumns({key: F.lit(value) for key, value in keys.items()})
        tables.write(spark, found, warehouse, f"decision_{name}", txn=None, **keys)
    decided = tables.read(spark, warehouse, "decisions", keys)
    arms = {row["arm"]: (row["n"], row["cost"]) for row in decided.groupBy("arm").agg(
        F.count("*").alias("n"), F.sum("cost").alias("cost")).collect()}  # fmt: skip
    told = {row["arm"]: row for row in result.summary.collect()}
    return {
        "decided": sum(n for n, _ in arms.values()),
        "agrees": all(told[a]["n"] == n and abs(told[a]["cost"] - c) <= 1e-6 * (1 + c) for a, (n, c) in arms.items()),
        "gap": result.gap, "sentence": result.sentence, "writing": writing,
        "limits": [row.asDict() for row in result.constraints.collect()],
    }  # fmt: skip


def table(results: list[Result]) -> str:
    """Return the section's text."""
    good = [r for r in results if "error" not in r]
    errors = [f"spark_uplift failed: {r['error']}" for r in results if "error" in r]
    if not good:
        return "\n\n".join(["## Deciding large lists", *errors])
    rows = []
    for r in good:
        aim = f"≤ {SECONDS[1]:g}: {verdict(r['seconds'] <= SECONDS[1])}" if r["rows"] == SECONDS[0] else ""
        whole = (
            r["decided"] == r["rows"] and r["agrees"] and all(c["used"] <= c["limit"] for c in r["limits"])
        )
        rows.append([
            f"{r['rows']:,}", number(r["seconds"]), aim, number(r["seconds"] * r["threads"] / r["rows"] * 1e6),
            number(r["cpu_seconds"] / r["rows"] * 1e6), f"{r['gap']:.1e}", verdict(whole and r["gap"] <= GAP),
            number(r["peak_mb"]["decide"]), number(r["worker_mb"]["decide"]), number(r["bytes"] / r["rows"]),
        ])  # fmt: skip
    header = [
        "rows", "seconds", "aim", "µs·core a row", "of them busy", "gap to the optimum at most",
        "all decided within limits, gap ≤ 0.1 %", "JVM and workers, peak MB", "largest worker, MB",
        "bytes a row in Delta",
    ]  # fmt: skip
    r, least = good[-1], good[0]["peak_mb"]["decide"]
    text = (
        f"Scores of {len(TREATMENTS)} treatments, a text id, a region and past contacts in Parquet; two budgets, three "
        "capacities (one of a region), a contact rule, 1 % explore, "
        f"{r['threads']} threads. The clock covers reading the scores, finding ids that come twice, prices, decisions "
        "with their reasons in Delta, both small tables, and counting what is there. A list of at most a million is "
        "decided before."
    )
    parts = {**r["parts"], "write": r["writing"]}
    other = r["seconds"] - sum(parts.values())
    spent = [
        [title, number(seconds)]
        for title, seconds in [*parts.items(), ("tables read back, and the rest", other)]
    ]
    growth = r["peak_mb"]["decide"] / least
    flat = (
        f"Memory at {r['rows']:,} rows beside {good[0]['rows']:,}: {growth:.2f} times, flat (≤ {MEMORY_GROWTH:g}): "
        f"{verdict(growth <= MEMORY_GROWTH)}."
    )
    where = f"Where the seconds of {r['rows']:,} rows go:"
    return "\n\n".join([
        "## Deciding large lists", text, markdown(header, rows), where, markdown(["", "seconds"], spent), flat, *errors,
    ])  # fmt: skip
