"""The tables of docs/scaling.md: predictions beside measurements, and what the model says of larger work."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import costs
from benchmarks.costs import Constants, Cost
from benchmarks.machine import sentence
from benchmarks.markdown import markdown, number
from benchmarks.simulation import Pass, Work, first_pass, passes_of
from spark_uplift.core.dtypes import PACKED
from spark_uplift.spark import profile

MB, GB, TB = 1e6, 1e9, 1e12
CORES = 2  # of the machine whose fits are measured


def _good(results: dict[str, Any]) -> list[dict[str, Any]]:
    found = results.get("scale", {}).get("results", [])
    return [r for r in found if "error" not in r]


def _kernel(results: dict[str, Any]) -> dict[str, Any] | None:
    found = results.get("counting", {}).get("results")
    return found if found and "error" not in found else None


def _slots(results: dict[str, Any]) -> int:
    return int(results.get("scale", {}).get("settings", {}).get("threads", CORES))


def constants(path: str | Path) -> Constants:
    """Return the constants that a file of results tells; the defaults for what it lacks."""
    results = json.loads(Path(path).read_text()) if Path(path).exists() else {}
    return costs.calibrated(_good(results), _kernel(results), _slots(results))


def measured_parts(result: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of a measured fit's parts, named as `costs.costs` names them."""
    parts = {"first pass": result["first_pass_seconds"], "pack": result["pack_seconds"]}
    for found in result["passes"]:
        name = f"count depth {found['depth']}" if found["kind"] == "counted" else "finish small nodes"
        parts[name] = parts.get(name, 0.0) + found["seconds"]
    return parts


def predictions(results: list[dict[str, Any]], found: Constants, slots: int) -> str:
    """Return the table of predicted and measured seconds."""
    header, columns, names = [""], [], []
    for r in results:
        work = costs.work_of(r, slots)
        predicted = {cost.name: cost.seconds for cost in costs.costs(work, found, passes_of(work))}
        measured = measured_parts(r)
        columns.append((predicted, measured, r))
        names += [name for name in dict.fromkeys((*predicted, *measured)) if name not in names]
        header += [f"{r['rows']:,} rows: model", "measured"]
    names.sort(key=lambda name: (name.startswith("finish"), name.startswith("count"), name))
    rows = []
    for name in names:
        cells = [
            number(part.get(name)) for predicted, measured, _ in columns for part in (predicted, measured)
        ]
        rows.append([name, *cells])
    totals = [number(x) for predicted, _, r in columns for x in (sum(predicted.values()), r["seconds"])]
    ratios = [x for predicted, _, r in columns for x in (number(sum(predicted.values()) / r["seconds"]), "1")]
    rows += [["**whole fit**", *totals], ["model / measured", *ratios]]
    return markdown(header, rows)


def constants_table(found: Constants) -> str:
    """Return the table of the constants."""
    rows = [
        ["draw", number(found.draw), "ns a row and tree", "kernel alone"],
        ["step", number(found.step), "ns a row in the bag, tree and level", "kernel alone"],
        ["update, PACKED", number(found.update[0]), "ns a row in an open node and feature", "kernel alone"],
        ["update, UNIT", number(found.update[1]), "ns a row in an open node and feature", "kernel alone"],
        ["far", number(found.far), "ns more, where a tree's histograms exceed 1 MiB", "kernel alone"],
        ["read", number(found.read), "ns a row and column, first pass", "the fit of the middle size"],
        ["pack", number(found.pack), "ns a row and column", "the fit of the middle size"],
        ["job", number(found.job * 1e3), "ms a Spark job with its shuffle", "a fit of next to no rows"],
        ["ship", number(found.ship), "ns a row of a small node", "as the engine's plan has it"],
        ["grow", number(found.grow), "ns a row of a small node and level", "as the engine's plan has it"],
        ["task", number(found.task * 1e3), "ms of the driver a task", "assumed"],
        ["network, disk", number(found.network / MB), "MB a second and core, either", "assumed"],
    ]
    return markdown(["constant", "value", "unit", "from"], rows)


def costs_table(found: list[Cost]) -> str:
    """Return the table of a training's parts, with their sum."""
    names = ("cpu", "seconds", "read", "shuffled", "driver")
    total = Cost("**together**", *(sum(getattr(cost, name) for cost in found) for name in names))
    rows = [
        [c.name, number(c.cpu / 60), number(c.seconds / 60), number(c.read / GB), number(c.shuffled / GB),
         number(c.driver)]
        for c in (*found, total)
    ]  # fmt: skip
    return markdown(
        ["", "core minutes", "minutes", "read, GB", "shuffled, GB", "driver alone, seconds"], rows
    )


def passes_table(work: Work, passes: Sequence[Pass], every: bool = False) -> str:
    """Return the sizes of the passes: all of them, or the largest figures of each level."""
    shown = [[found] for found in passes] if every else _levels(passes)
    rows = []
    for level in shown:
        rows.append([
            str(level[0].depth), str(len(level)), f"{max(x.nodes for x in level):,}",
            number(max(x.histograms for x in level) / MB), f"{max(x.buckets for x in level):,}",
            number(max(x.bucket_bytes for x in level) / MB), number(max(x.reducer_bytes for x in level) / MB),
            number(sum(x.shuffled for x in level) / GB), number(max(x.closure for x in level) / MB),
            number(max(x.collected for x in level) / MB), number(max(x.held for x in level) / MB),
        ])  # fmt: skip
    header = [
        "depth", "passes", "nodes a pass", "histograms a task, MB", "buckets", "a bucket at its reducer, MB",
        "fetched by a reducing task, MB", "shuffled, GB", "sent to a task, MB", "collected, MB", "driver holds, MB",
    ]  # fmt: skip
    return markdown(header, rows)


def _levels(passes: Sequence[Pass]) -> list[list[Pass]]:
    found: dict[int, list[Pass]] = {}
    for one in passes:
        found.setdefault(one.depth, []).append(one)
    return list(found.values())


def memory_text(work: Work, passes: Sequence[Pass]) -> str:
    """Return the memory of the processes, in words."""
    found, first = costs.memory(work, passes), first_pass(work)
    layout = "PACKED" if work.spec.grid.layout == PACKED else "UNIT"
    total, tasks = work.block_bytes, work.limits.tasks
    held = {
        "a counting task": found.counting_task, "a reducing task": found.reducing_task,
        "a reducer of the first pass": found.first_reducer, "the driver": found.driver,
    }  # fmt: skip
    return (
        f"Packed rows: {work.record_bytes} bytes each with the unit's hash (layout {layout}), {number(total / GB)} GB "
        f"in all, {number(total / work.slots / GB)} GB a core; {tasks:,} tasks of {number(total / tasks / GB)} GB. "
        f"First pass: {first.partitions:,} partitions send {first.sampled:,} sampled rows to {first.reducers} "
        f"reducers, {number(first.sample_bytes / MB)} MB to each, and {number(first.tally_bytes / MB)} MB of counts to "
        f"each of {profile.TALLIES} others. Held beside the interpreter with its packages: "
        f"{', '.join(f'{name} {number(size / MB)} MB' for name, size in held.items())}."
    )


def variants() -> dict[str, Work]:
    """Return what docs/scaling.md compares with `costs.LARGE`, a setting changed in each."""
    large = costs.LARGE
    return {
        "as above": large,
        "a task a slot (tasks = 1,000)": replace(large, tasks=1000),
        "groups of 1 GiB (group_bytes)": replace(large, group_bytes=2**30),
        "all 200 features at every node": replace(large, features_per_node=200),
        "32 bins (maxBins)": replace(large, bins=32),
        "depth 6": replace(large, depth=6),
        "500 million rows, layout PACKED": replace(large, rows=500_000_000),
    }


def variants_table(found: Constants) -> str:
    """Return the table of what settings change."""
    rows = []
    for name, work in variants().items():
        passes = passes_of(work)
        parts = costs.costs(work, found, passes, cluster=True)
        rows.append([
            name, f"{len(passes)}", number(sum(c.cpu for c in parts) / 3600),
            number(sum(c.seconds for c in parts) / 60), number(sum(c.shuffled for c in parts) / TB),
            number(sum(c.driver for c in parts)), number(work.block_bytes / TB),
        ])  # fmt: skip
    header = [
        "",
        "passes",
        "core hours",
        "minutes",
        "shuffled, TB",
        "driver alone, seconds",
        "packed rows, TB",
    ]
    return markdown(header, rows)


def report(results: dict[str, Any]) -> str:
    """Return what stands between the markers of docs/scaling.md."""
    measured, slots = _good(results), _slots(results)
    found = costs.calibrated(measured, _kernel(results), slots)
    parts = ["### Constants", constants_table(found)]
    if measured:
        parts += [
            "### Predicted and measured seconds",
            f"{measured[0]['trees']} trees of depth {measured[0]['depth']}, 12 features, {slots} cores.",
            predictions(measured, found, slots),
            f"*Measured on {sentence(results['scale']['machine'])}.*",
        ]
    work = costs.LARGE
    passes = passes_of(work)
    faults = [fault for one in passes for fault in one.faults(work.limits, 0)]
    parts += [
        f"### {work.rows:,} rows × {work.features} features, {work.trees} trees of depth {work.depth}, "
        f"{work.slots:,} cores",
        f"{work.features_per_node} features a node (the default, the root of their number), {work.bins} bins, "
        f"{work.arms} arms, a binary outcome.",
        passes_table(work, passes),
        "; ".join(faults) or "No task, reducer or driver exceeds its bound in any pass.",
        memory_text(work, passes),
        costs_table(costs.costs(work, found, passes, cluster=True)),
        "What a setting changes:",
        variants_table(found),
    ]  # fmt: skip
    return "\n\n".join(parts)


def main() -> int:
    """Write the tables of docs/scaling.md again from the results that are there."""
    from benchmarks.tables import write_between_markers

    root = Path(__file__).resolve().parents[1]
    results = json.loads((root / "docs/benchmarks.json").read_text())
    write_between_markers(root / "docs/scaling.md", report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
