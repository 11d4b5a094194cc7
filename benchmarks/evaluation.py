"""Evaluating scored rows: `su.evaluate` with intervals, beside scikit-uplift and CausalML that resample on one machine.

Three arms. Ours gives every metric of both treatments and of the policy over them, the uplift tables and the curves,
with 200 replicates. The peers give two numbers of each treatment, Qini and AUUC; an interval costs them 200 resamples,
of which a few are timed.
"""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.contender import Stopwatch, phase
from benchmarks.markdown import markdown, number, verdict
from benchmarks.settings import CONTROL, EVALUATION_GROWTH, EVALUATION_RATIO, METRIC_PEERS, Settings

Result = dict[str, Any]
Array = npt.NDArray[Any]

ARMS = (CONTROL, "call", "mail")
CHUNK = 500_000
REPLICATES = 200
WARM_ROWS = 200_000


def files(rows: int, folder: str | Path, seed: int) -> list[str]:
    """Return the paths of a table of scored rows, whether or not they are there yet."""
    sizes = [min(CHUNK, rows - first) for first in range(0, rows, CHUNK)]
    base = Path(folder).resolve() / f"scored-{seed}"
    return [str(base / f"part-{k:04d}-{n}.parquet") for k, n in enumerate(sizes)]


def make(rows: int, folder: str | Path, seed: int) -> list[str]:
    """Make the files that are missing: id, arm, outcome (0 or 1, about 8 %), uplift (a score a treatment)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = files(rows, folder, seed)
    for k, path in enumerate(paths):
        if Path(path).exists():
            continue
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        n = min(CHUNK, rows - k * CHUNK)
        rng = np.random.default_rng([seed, k])
        x = rng.random((n, 2))
        arm = rng.integers(0, 3, n)
        effect = np.column_stack([np.zeros(n), 0.04 * x[:, 0], 0.06 * x[:, 1] ** 2])
        y = (rng.random(n) < 0.06 + effect[np.arange(n), arm]).astype(np.float64)
        scores = effect[:, 1:] + 0.01 * rng.normal(size=(n, 2))
        offsets = pa.array(np.arange(0, 2 * n + 1, 2, dtype=np.int32))
        columns = {
            "id": np.arange(n, dtype=np.int64) + k * CHUNK,
            "arm": pa.array(ARMS).take(pa.array(arm)),
            "outcome": y,
            "uplift": pa.ListArray.from_arrays(offsets, pa.array(scores.reshape(-1))),
        }
        unfinished = f"{path}.unfinished"
        pq.write_table(pa.table(columns), unfinished)
        os.replace(unfinished, path)  # a run that is killed leaves no half file behind
    return paths


def read(paths: list[str], arm: int) -> tuple[Array, Array, Array]:
    """Return outcome, treated (0 or 1) and score of one treatment's rows and control's, in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts = []
    for path in paths:
        table = pq.read_table(path, columns=["arm", "outcome", "uplift"])
        table = table.filter(pc.is_in(table["arm"], value_set=pa.array([CONTROL, ARMS[arm]])))
        treated = pc.equal(table["arm"], ARMS[arm]).to_numpy().astype(np.int64)
        score = pc.list_element(table["uplift"], arm - 1).to_numpy()
        parts.append((table["outcome"].to_numpy(), treated, score))
    y, treated, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return y.astype(np.int64), treated, score


def evaluate(settings: Settings, job: Result) -> Result:
    """Evaluate the rows once, after a smaller table that warms up JVM, workers and kernels."""
    import spark_uplift as su
    from benchmarks.ours import _version
    from benchmarks.scoring import cpu_seconds

    spark = su.get_session(
        "benchmarks", master=f"local[{settings.threads}]", conf={"spark.driver.memory": job["driver_memory"]}
    )

    def run(rows: int) -> list[Any]:
        table = spark.read.parquet(*files(rows, job["data"], settings.seed))
        result = su.evaluate(
            table,
            treatmentCol="arm",
            controlName=CONTROL,
            labelCol="outcome",
            idCol="id",
            bootstrap=REPLICATES,
            seed=settings.seed,
        )
        found = result.metrics.collect()
        result.uplift_table.collect()
        result.curves.collect()
        return found

    try:
        with phase("warm-up"):
            run(min(WARM_ROWS, settings.rows))
        seconds, before = [], cpu_seconds()
        for _ in range(settings.repeats):
            with phase("evaluate"), Stopwatch() as watch:
                metrics = run(settings.rows)
            seconds.append(watch.seconds)
        spent = (cpu_seconds() - before) / len(seconds)
    finally:
        spark.stop()
    values = {f"{r['arm']}|{r['style']}|{r['metric']}": [r["value"], r["std_error"]] for r in metrics}
    return {
        "version": _version(), "rows": settings.rows, "seconds": seconds, "cpu_seconds": spent,
        "replicates": REPLICATES, "threads": settings.threads, "metrics": values,
    }  # fmt: skip


def _sklift() -> dict[str, Callable[[Array, Array, Array], float]]:
    from sklift.metrics import qini_auc_score, uplift_auc_score

    return {
        "qini": lambda y, t, s: float(qini_auc_score(y, s, t)),
        "auuc": lambda y, t, s: float(uplift_auc_score(y, s, t)),
    }


def _causalml() -> dict[str, Callable[[Array, Array, Array], float]]:
    import pandas as pd
    from causalml.metrics import auuc_score, qini_score

    def of(function: Callable[..., Any]) -> Callable[[Array, Array, Array], float]:
        def compute(y: Array, t: Array, s: Array) -> float:
            frame = pd.DataFrame({"y": y, "w": t, "score": s}, copy=False)
            return float(function(frame, outcome_col="y", treatment_col="w")["score"])

        return compute

    return {"qini": of(qini_score), "auuc": of(auuc_score)}


def resample(settings: Settings, job: Result) -> Result:
    """Time a peer's resamples: each of its metrics for each treatment."""
    import warnings
    from importlib.metadata import version

    warnings.simplefilter("ignore")
    package = {"sklift": "scikit-uplift", "causalml": "causalml"}[job["package"]]
    metrics = {"sklift": _sklift, "causalml": _causalml}[job["package"]]()
    paths = files(settings.rows, job["data"], settings.seed)
    found: Result = {"seconds": dict.fromkeys([*metrics, "drawing"], 0.0), "values": {}}
    for arm in (1, 2):
        rows = read(paths, arm)
        with phase("resample"):
            _time(metrics, ARMS[arm], rows, job["resamples"], found, settings.seed)
    return {
        "version": f"{package} {version(package)}", "rows": settings.rows, "resamples": job["resamples"], **found
    }  # fmt: skip


def _time(
    metrics: dict[str, Callable[[Array, Array, Array], float]],
    arm: str,
    rows: tuple[Array, Array, Array],
    resamples: int,
    found: Result,
    seed: int,
) -> None:
    """Add the mean seconds of one resample of one treatment's rows, and the metrics of the rows themselves."""
    y, t, s = rows
    for name, compute in metrics.items():
        found["values"][f"{arm}|{name}"] = compute(y, t, s)
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        with Stopwatch() as watch:
            drawn = rng.integers(0, len(y), len(y))
            again = y[drawn], t[drawn], s[drawn]
        found["seconds"]["drawing"] += watch.seconds / resamples
        for name, compute in metrics.items():
            with Stopwatch() as watch:
                compute(*again)
            found["seconds"][name] += watch.seconds / resamples


def _one(size: Result) -> float:
    """Return the seconds of one resample of all treatments, all metrics."""
    return float(sum(size["seconds"].values()))


def _exponent(sizes: list[Result]) -> float:
    """Return the growth of a resample's seconds in rows, by the two largest sizes; 1 from a single one."""
    if len(sizes) < 2:
        return 1.0
    (a, b), (m, n) = ((_one(size) for size in sizes[-2:]), (size["rows"] for size in sizes[-2:]))
    return math.log(b / a) / math.log(n / m)


def _extrapolated(sizes: list[Result], rows: int) -> float:
    """Return the seconds of a resample at so many rows: measured, or scaled from the largest table that was."""
    last = sizes[-1]
    return _one(last) * (rows / last["rows"]) ** (1.0 if rows == last["rows"] else _exponent(sizes))


def section(run: Callable[..., Result]) -> Callable[[Settings, Namespace], Result]:
    """Return the section; ``run`` starts a contender."""

    def evaluation(settings: Settings, args: Namespace) -> Result:
        """Evaluate tables of growing size, then let the peers resample."""
        folder, sizes = f"{args.work}/data", sorted(args.evaluation_rows)
        for rows in {*sizes, *args.evaluation_peer_rows, min(WARM_ROWS, *sizes)}:
            make(rows, folder, settings.seed)
        ours = [
            run(
                "ours-evaluation",
                replace(settings, rows=rows, repeats=args.evaluation_repeats),
                args,
                data=folder,
                driver_memory=args.driver_memory,
            )
            for rows in sizes
        ]
        peer_sizes = sorted({rows for rows in [*args.evaluation_peer_rows, sizes[-1]] if rows <= sizes[-1]})
        chosen = [peer for peer in METRIC_PEERS if peer in args.peers]
        return {
            "ours": ours,
            "peers": {peer: _sizes(run, peer, settings, args, peer_sizes) for peer in chosen},
        }

    return evaluation


def _sizes(
    run: Callable[..., Result], peer: str, settings: Settings, args: Namespace, sizes: list[int]
) -> list[Result]:
    """Time a peer at growing sizes, a process each, as long as it can be expected to end in time."""
    found: list[Result] = []
    for rows in sizes:
        good = [one for one in found if "error" not in one]
        if good and _extrapolated(good, rows) * args.evaluation_resamples > args.timeout / 2.0:
            break
        found.append(
            run(
                f"{peer}-metrics",
                replace(settings, rows=rows),
                args,
                peer=True,
                package=peer,
                data=f"{args.work}/data",
                resamples=args.evaluation_resamples,
            )
        )
    return found


def table(r: Result) -> str:
    """Return the section's text."""
    good = [one for one in r["ours"] if "error" not in one]
    runs = [*r["ours"], *(one for sizes in r["peers"].values() for one in sizes)]
    errors = [f"{one['contender']} failed: {one['error']}" for one in runs if "error" in one]
    peers = {name: [one for one in sizes if "error" not in one] for name, sizes in r["peers"].items()}
    peers = {name: sizes for name, sizes in peers.items() if sizes}
    parts = ["## Evaluating scored rows, 200 replicates"]
    if good:
        parts += [_about(good), _table_of_ours(good)]
    if good and peers:
        parts += [_table_of_peers(good[-1], peers), *_agreement(good[-1], peers)]
    return "\n\n".join([*parts, *errors])


def _about(good: list[Result]) -> str:
    first, last = good[0], good[-1]
    growth = last["peak_mb"]["evaluate"] / first["peak_mb"]["evaluate"]
    text = (
        f"Three arms, a score a treatment, {last['threads']} threads. The clock covers `su.evaluate` from Parquet "
        "files to its three tables on the driver: every metric of both treatments and of the policy over them, with "
        f"intervals ({len(last['metrics'])} in all), uplift tables and curves with bands. A smaller table is "
        "evaluated before."
    )
    if len(good) > 1:
        text += (
            f" Memory at {last['rows']:,} rows beside {first['rows']:,}: {growth:.2f} times, flat (≤ "
            f"{EVALUATION_GROWTH:g}): {verdict(growth <= EVALUATION_GROWTH)}."
        )
    return text


def _table_of_ours(good: list[Result]) -> str:
    rows = [
        [
            f"{one['rows']:,}", number(median(one["seconds"])), number(median(one["seconds"]) / one["rows"] * 1e6),
            number(one["cpu_seconds"] / one["rows"] * 1e6), number(one["peak_mb"]["evaluate"]),
            number(one["worker_mb"]["evaluate"]),
        ]
        for one in good
    ]  # fmt: skip
    header = ["rows", "seconds", "µs a row", "CPU µs a row", "JVM and workers, peak MB", "largest worker, MB"]
    return markdown(header, rows)


def _table_of_peers(ours: Result, peers: dict[str, list[Result]]) -> str:
    own, count, rows = median(ours["seconds"]), ours["rows"], []
    notes = []
    for sizes in peers.values():
        last = sizes[-1]
        seconds = _extrapolated(sizes, count) * REPLICATES
        qini = seconds * (last["seconds"]["qini"] + last["seconds"]["drawing"]) / _one(last)
        ratio = seconds / own
        aim = f"≥ {EVALUATION_RATIO:g}: {verdict(ratio >= EVALUATION_RATIO)}"
        rows.append([
            last["version"], f"{last['rows']:,}", number(_one(last)), f"{seconds:,.0f}", number(ratio), aim,
            number(ratio / ours["threads"]), number(qini / own), number(max(last["peak_mb"].values())),
        ])  # fmt: skip
        grown = ", ".join(f"{size['rows']:,} rows {number(_one(size))} s" for size in sizes)
        notes.append(
            f"{last['version']}: {grown} a resample (exponent {_exponent(sizes):.2f} between the last two)."
        )
    header = [
        f"{count:,} rows, beside {number(own)} s of ours", "rows timed", "a resample, s", "200 resamples, s",
        "times ours", "aim", "times ours, a process a core", "times ours, Qini alone", "peak MB",
    ]  # fmt: skip
    timed = next(iter(peers.values()))[-1]["resamples"]
    text = (
        "The peers have the rows in memory and give Qini and AUUC of both treatments. Extrapolated: a resample is the "
        f"mean of {timed}, drawing included, and 200 take 200 times as long; a table that was not timed at full size "
        "is scaled by the growth between the two largest that were. The peers use one core; a process a core would at "
        "best divide their time by the number of cores."
    )
    return "\n\n".join([text, markdown(header, rows), *notes])


def _agreement(ours: Result, peers: dict[str, list[Result]]) -> list[str]:
    """Say how near our Qini is to the peers' own at the full size."""
    found = []
    for name, sizes in peers.items():
        keys = [f"{arm}|{name}|qini" for arm in ARMS[1:]]
        if sizes[-1]["rows"] != ours["rows"] or not all(key in ours["metrics"] for key in keys):
            continue
        pairs = [(ours["metrics"][key], sizes[-1]["values"][key.replace(f"|{name}|", "|")]) for key in keys]
        worst = max(abs(value - theirs) / error for (value, error), theirs in pairs)
        found.append(f"{sizes[-1]['version']} {worst:.4f}")
    if not found:
        return []
    return [
        "Our Qini in their styles differs from theirs on the same rows by at most this many of its standard errors "
        f"(scores are binned above 100,000 different ones): {', '.join(found)}."
    ]
