"""The sections about size: growing tables, both strategies, executors, and rows that memory does not hold."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import data
from benchmarks.settings import Settings

Result = dict[str, Any]
Run = Callable[..., Result]


def _settings(settings: Settings, args: Namespace, rows: int) -> Settings:
    data.make(rows, f"{args.work}/data")
    return replace(settings, rows=rows, trees=args.scale_trees, depth=args.scale_depth)


def scale(run: Run, settings: Settings, args: Namespace) -> list[Result]:
    """Fit tables of growing size."""
    found = []
    for rows in args.scale_rows:
        s = _settings(settings, args, rows)
        found.append(run("ours-scale", s, args, driver_memory=args.driver_memory, fixed=True))
    return found


def counting(run: Run, settings: Settings, args: Namespace) -> Result:
    """Time the kernel of counting passes alone, for the cost model."""
    return run("counting", settings, args)


def strategies(run: Run, settings: Settings, args: Namespace) -> Result:
    """Fit the same rows by either strategy, in turn, in one process."""
    return run(
        "ours-strategies", _settings(settings, args, args.pair_rows), args, driver_memory=args.driver_memory
    )


def executors(run: Run, settings: Settings, args: Namespace) -> list[Result]:
    """Fit on a standalone cluster: one executor of one core, then two."""
    s = _settings(settings, args, args.pair_rows)
    more = {"driver_memory": "1g", "executor_cores": 1, "executor_memory": "2g"}
    return [run("ours-scale", s, args, tag=f"-executors-{n}", executors=n, **more) for n in (1, 2)]


def spill(run: Run, settings: Settings, args: Namespace) -> Result:
    """Fit rows that the only executor's memory does not hold, and the same rows with memory to spare."""
    s = replace(_settings(settings, args, args.spill_rows), trees=args.spill_trees)
    small = {"executors": 1, "executor_cores": settings.threads, "executor_memory": args.spill_memory}
    return {
        "small": run("ours-scale", s, args, tag="-spill", driver_memory="1g", **small),
        "ample": run("ours-scale", s, args, tag="-ample", driver_memory=args.driver_memory),
    }


def sections(run: Run) -> dict[str, Callable[[Settings, Namespace], Any]]:
    """Return the sections by name; ``run`` starts a contender."""
    found = {
        "counting": counting,
        "scale": scale,
        "strategies": strategies,
        "executors": executors,
        "spill": spill,
    }
    return {name: partial(section, run) for name, section in found.items()}
