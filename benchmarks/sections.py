"""The sections of the benchmarks: which contenders run, in which order, with which settings."""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks import campaigns, coverage, data, decide, evaluation, processes, scale_sections, scoring
from benchmarks.settings import FULL_PEERS, SMALL_PEERS, Settings

Result = dict[str, Any]


def _run(contender: str, settings: Settings, args: Namespace, *, peer: bool = False, **extra: Any) -> Result:
    """Run a contender and say so on the terminal."""
    started = time.perf_counter()
    print(
        f"{contender}: {settings.rows:,} rows, {settings.trees} trees …", file=sys.stderr, end=" ", flush=True
    )
    python = args.peers_python if peer else sys.executable
    found = processes.run(contender, settings, python=python, timeout=args.timeout, **extra)
    print(found.get("error", f"{time.perf_counter() - started:.0f} s"), file=sys.stderr, flush=True)
    return found


def _both(first: Result, second: Result) -> Result:
    """Return one result of two processes of ours, run before and after the peers."""
    if "error" in first or "error" in second:
        return first if "error" in first else second
    if first["digest"] != second["digest"]:
        raise RuntimeError("Two fits of the same rows gave different forests.")
    peaks = {
        key: {phase: max(first[key].get(phase, 0.0), value) for phase, value in second[key].items()}
        for key in ("peak_mb", "worker_mb")
    }
    firsts = [first["first_seconds"], second["first_seconds"]]
    return {**first, **peaks, "seconds": first["seconds"] + second["seconds"], "first_seconds": firsts}


def fit(settings: Settings, args: Namespace) -> list[Result]:
    """Fit ours and the peers: ours, every peer once, ours again, so that a drift of the machine shows."""
    groups = []
    data.make_held_out(settings.test_rows, f"{args.work}/data")
    for rows, group in ((settings.rows, FULL_PEERS), (args.small_rows, SMALL_PEERS)):
        peers = [name for name in args.peers if name in group]
        if group is SMALL_PEERS and not peers:
            continue
        data.make(rows, f"{args.work}/data")
        for trees in args.trees:
            s = replace(settings, rows=rows, trees=trees)
            first = _run("ours", s, args, tag="-before")
            others = [_run(name, s, args, peer=True) for name in peers]
            honest = _run("ours-honest", s, args)
            ours = _both(first, _run("ours", s, args, tag="-after"))
            groups.append({
                "rows": rows, "trees": trees, "depth": s.depth,
                "aims": group is FULL_PEERS and rows >= 1_000_000,
                "results": [ours, honest, *others],
            })  # fmt: skip
    return groups


def kernel(settings: Settings, args: Namespace) -> Result:
    """Time the kernels alone."""
    data.make(settings.rows, f"{args.work}/data")
    return _run("kernel", replace(settings, trees=min(args.trees)), args, predict_trees=max(args.trees))


def transform(settings: Settings, args: Namespace) -> Result:
    """Score many rows, and time YDF's prediction on fewer in memory."""
    trees = max(args.trees)
    forest = f"{args.work}/transform-forest.json"
    s = replace(settings, rows=args.transform_train_rows, trees=trees)
    for rows in (s.rows, args.transform_rows, args.predict_rows):
        data.make(rows, f"{args.work}/data")
    data.make_held_out(s.test_rows, f"{args.work}/data")
    found = {
        "trees": trees, "depth": s.depth, "train_rows": s.rows, "threads": s.threads,
        "ours": _run("ours-transform", s, args, score_rows=args.transform_rows, forest=forest),
    }  # fmt: skip
    if "ydf" in args.peers and "error" not in found["ours"]:
        found["ydf"] = _run("ydf-predict", s, args, peer=True, predict_rows=args.predict_rows, forest=forest)
    return found


def memory(settings: Settings, args: Namespace) -> list[Result]:
    """Watch the workers of fits of growing size. Two trees a worker will do: memory is used again."""
    found = []
    for rows in args.memory_rows:
        data.make(rows, f"{args.work}/data")
        found.append(_run("ours-memory", replace(settings, rows=rows, trees=2 * settings.threads), args))
    return found


def cold(settings: Settings, args: Namespace) -> Result:
    """Time the first calls of fresh processes: without cached kernels, then with the cache that this leaves."""
    s = replace(settings, rows=2000, trees=1)
    with tempfile.TemporaryDirectory() as folder:
        cache = {"NUMBA_CACHE_DIR": folder}
        return {
            "compiled": [_run("first-call", s, args, environment=cache)],
            "cached": [_run("first-call", s, args, environment=cache) for _ in range(3)],
        }


def breakdown(settings: Settings, args: Namespace) -> Result:
    """Time the parts of a fit, each alone."""
    data.make(settings.rows, f"{args.work}/data")
    s = replace(settings, trees=min(args.trees))
    return {"rows": s.rows, "trees": s.trees, **_run("ours-breakdown", s, args)}


RUN: dict[str, Callable[[Settings, Namespace], Any]] = {
    "fit": fit,
    "kernel": kernel,
    "transform": transform,
    "memory": memory,
    "cold": cold,
    "breakdown": breakdown,
    **scale_sections.sections(_run),
    "scoring": scoring.section(_run),
    "campaigns": campaigns.section,
    "coverage": coverage.section(_run),
    "decide": decide.section(_run),
    "evaluation": evaluation.section(_run),
}
