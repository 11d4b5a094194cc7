"""Scoring large lists by ``pipeline.score``: from Parquet files to ranked scores in Delta, counted and checked."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.contender import Stopwatch, phase
from benchmarks.markdown import markdown, number, verdict
from benchmarks.settings import CONTROL, FEATURES, N_FEATURES, Settings

Result = dict[str, Any]

ROWS_A_SECOND = 500_000.0  # on two cores
MEMORY_GROWTH = 1.25  # most that the largest list's peak may be of the smallest one's
TRAIN_ROWS = 200_000
WARM_ROWS = 1_000_000  # the JVM compiles for tens of seconds; what is measured is how lists grow


def section(run: Callable[..., Result]) -> Callable[[Settings, Namespace], list[Result]]:
    """Return the section; ``run`` starts a contender."""

    def scoring(settings: Settings, args: Namespace) -> list[Result]:
        """Score lists of growing size, each in a process of its own."""
        data.make(TRAIN_ROWS, f"{args.work}/data")
        found = []
        for rows in args.scale_rows:
            data.make(rows, f"{args.work}/data")
            s = replace(settings, rows=rows, trees=args.scale_trees, depth=args.scale_depth)
            found.append(run("ours-scoring", s, args, driver_memory=args.driver_memory))
        return found

    return scoring


def score(settings: Settings, job: Result) -> Result:
    """Train a forest, score a short list to warm up, then the list of ``rows`` once."""
    import spark_uplift as su
    from benchmarks.ours import _version
    from spark_uplift.config import parse_config
    from spark_uplift.pipeline.context import RunContext, open_run
    from spark_uplift.pipeline.run import run_step, step_named

    folder = Path(settings.work).resolve() / f"scoring-{settings.rows}"
    shutil.rmtree(folder, ignore_errors=True)
    spark = su.get_session(
        "benchmarks", master=f"local[{settings.threads}]", conf={"spark.driver.memory": job["driver_memory"]}
    )

    def context(rows: int | None) -> RunContext:
        (train,) = data.files(TRAIN_ROWS, f"{settings.work}/data", settings.seed)
        roles = {
            "id": "id",
            "treatment": "arm",
            "control": CONTROL,
            "outcome": "outcome",
            "features": FEATURES,
        }
        values: dict[str, Any] = {
            "name": "scoring",
            "warehouse": str(folder / "warehouse"),
            "experiment": {"path": train, **roles},
            "forest": {"numTrees": settings.trees, "maxDepth": settings.depth, "maxBins": settings.bins},
            "mlflow": {"enabled": False},
        }
        if rows is not None:
            values["score"] = {"path": str(_list(folder, settings, rows))}
        return open_run(parse_config(values))

    try:
        for step in ("prepare", "train"):
            run_step(context(None), step_named(step))
        with phase("warm-up"):
            run_step(context(min(settings.rows, WARM_ROWS)), step_named("score"))
        main, before = context(settings.rows), cpu_seconds()
        with phase("score"), Stopwatch() as watch:
            scored = run_step(main, step_named("score"))
        spent = cpu_seconds() - before
        size = sum(f.stat().st_size for f in (folder / "warehouse" / "uplift_scores").glob("*.parquet"))
    finally:
        spark.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "version": _version(), "rows": settings.rows, "scored": scored, "trees": settings.trees,
        "depth": settings.depth, "threads": settings.threads, "seconds": watch.seconds, "cpu_seconds": spent,
        "bytes": size,
    }  # fmt: skip


def _list(folder: Path, settings: Settings, rows: int) -> Path:
    """Return a folder with the first files of the data: links, no copies."""
    made = folder / f"list-{rows}"
    made.mkdir(parents=True, exist_ok=True)
    for path in map(Path, data.files(rows, f"{settings.work}/data", settings.seed)):
        link = made / path.name
        if not link.exists():
            link.symlink_to(path)
    return made


def cpu_seconds() -> float:
    """Return the processor time of this process and all that it has started, also of those that have ended."""
    table: dict[int, list[tuple[int, float]]] = {}
    own = 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            seconds = sum(map(int, fields[11:15])) / ticks
            if int(entry.name) == os.getpid():
                own = seconds
            table.setdefault(int(fields[1]), []).append((int(entry.name), seconds))
    todo, total = [os.getpid()], own
    while todo:
        for child, seconds in table.get(todo.pop(), []):
            total += seconds
            todo.append(child)
    return total


def table(results: list[Result]) -> str:
    """Return the section's text."""
    good = [r for r in results if "error" not in r]
    errors = [f"spark_uplift failed: {r['error']}" for r in results if "error" in r]
    if not good:
        return "\n\n".join(["## Scoring large lists", *errors])
    least = good[0]["peak_mb"]["score"]
    rows = []
    for r in good:
        rate, peak = r["rows"] / r["seconds"], r["peak_mb"]["score"]
        aim = (
            f"≥ {ROWS_A_SECOND / 1e6:g}: {verdict(rate >= ROWS_A_SECOND)}"
            if r["rows"] == good[-1]["rows"]
            else ""
        )
        rows.append([
            f"{r['rows']:,}", number(r["seconds"]), number(rate / 1e6), aim,
            number(r["seconds"] * r["threads"] / r["rows"] * 1e6), number(r["cpu_seconds"] / r["rows"] * 1e6),
            number(peak), number(r["worker_mb"]["score"]), number(r["bytes"] / r["rows"]),
        ])  # fmt: skip
    header = [
        "rows", "seconds", "million rows a second", "aim", "µs·core a row", "of them busy", "JVM and workers, peak MB",
        "largest worker, MB", "bytes a row in Delta",
    ]  # fmt: skip
    r = good[-1]
    growth = r["peak_mb"]["score"] / least
    text = (
        f"Parquet files of {N_FEATURES} doubles and an id, {r['trees']} trees of depth {r['depth']} fitted on "
        f"{TRAIN_ROWS:,} rows, {r['threads']} threads. The clock covers `pipeline.score` as a job runs it: opening the "
        "list, second rows and bad values, scores, recommended arm, rank and decile, the commit to Delta, and counting "
        "what is in the table. A list of at most a million is scored before."
    )
    flat = (
        f"Memory at {r['rows']:,} rows beside {good[0]['rows']:,}: {growth:.2f} times, flat (≤ {MEMORY_GROWTH:g}): "
        f"{verdict(growth <= MEMORY_GROWTH)}."
    )
    return "\n\n".join(["## Scoring large lists", text, markdown(header, rows), flat, *errors])
