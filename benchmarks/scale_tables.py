"""The tables of the sections about size. Pure: no process is started here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from benchmarks.markdown import markdown, number, verdict
from benchmarks.settings import (
    EXECUTOR_RATIO,
    N_FEATURES,
    SCALE_BYTES,
    SCALE_EXPONENT,
    SCALE_SECONDS,
    SPILL_RATIO,
    STRATEGY_RATIO,
)
from spark_uplift.core.dtypes import UNIT

Result = dict[str, Any]
MB = 1e6


def kinds(result: Result, kind: str, key: str) -> float:
    """Return the sum of a figure over a fit's passes of a kind, ``counted`` or ``finished``."""
    return float(sum(x[key] for x in result["passes"] if x["kind"] == kind))


def exponent(small: float, large: float, factor: float) -> float:
    """Return e such that ``large = small * factor ** e``."""
    return math.log(large / small) / math.log(factor) if small > 0 and large > 0 else math.nan


def _good(results: Iterable[Result]) -> tuple[list[Result], list[str]]:
    found = list(results)
    errors = [f"spark_uplift failed: {r['error']}" for r in found if "error" in r]
    return [r for r in found if "error" not in r], errors


def _shape(r: Result) -> str:
    return f"{r['rows']:,} rows × {N_FEATURES} features, {r['trees']} trees, depth {r['depth']}"


def _parts(results: list[Result]) -> str:
    header = ["seconds", *(f"{r['rows']:,} rows" for r in results)]
    lines = [
        ["first pass: check, count, cut bins", *(number(r["first_pass_seconds"]) for r in results)],
        ["pack", *(number(r["pack_seconds"]) for r in results)],
    ]
    depths = sorted({x["depth"] for r in results for x in r["passes"] if x["kind"] == "counted"})
    for depth in depths:
        cells = []
        for r in results:
            taken = [x["seconds"] for x in r["passes"] if x["kind"] == "counted" and x["depth"] == depth]
            cells.append(number(sum(taken)) if taken else "")
        lines.append([f"count depth {depth}", *cells])
    done = [kinds(r, "finished", "seconds") for r in results]
    lines += [
        ["finish small nodes", *(number(seconds) if seconds else "" for seconds in done)],
        ["**whole fit**", *(number(r["seconds"]) for r in results)],
        ["the same passes over next to no rows", *(number(r.get("fixed_seconds")) for r in results)],
    ]  # fmt: skip
    return markdown(header, lines)


def _sizes(results: list[Result]) -> str:
    rows = [
        [
            f"{r['rows']:,}",
            number(r["seconds"]),
            number(r["seconds"] / r["rows"] * 1e6),
            number(max(r["peak_mb"].values(), default=0.0)),
            number(max(r["worker_mb"].values(), default=0.0)),
            number(kinds(r, "counted", "shuffled") / MB),
            number(kinds(r, "counted", "data") / MB),
            number(kinds(r, "finished", "shuffled") / MB),
            number(r["stored_disk"] / MB),
            r["digest"][:12],
        ]
        for r in results
    ]
    header = [
        "rows", "seconds", "µs a row", "JVM and all workers, MB", "largest worker, MB", "shuffled to count, MB",
        "before compression, MB", "shuffled to finish, MB", "blocks on disk, MB", "digest",
    ]  # fmt: skip
    return markdown(header, rows)


def _scale_remarks(results: list[Result]) -> list[str]:
    remarks = []
    for a, b in pairwise(results):
        factor = b["rows"] / a["rows"]
        raw = exponent(a["seconds"], b["seconds"], factor)
        spans = f"{a['rows']:,} → {b['rows']:,} rows"
        net = exponent(a["seconds"] - a["fixed_seconds"], b["seconds"] - b["fixed_seconds"], factor)
        aim = f"aim ≤ {SCALE_EXPONENT:g}: {verdict(raw <= SCALE_EXPONENT)}"
        text = f"{spans}: seconds grow with exponent {raw:.2f} ({aim})"
        if not math.isnan(net):
            text += f", without the fixed cost {net:.2f} ({verdict(net <= SCALE_EXPONENT)})"
        counted = [kinds(r, "counted", "data") for r in (a, b)]
        levels = [sum(x["kind"] == "counted" for x in r["passes"]) for r in (a, b)]
        if all(counted) and levels[0] == levels[1]:
            grown = exponent(*counted, factor)
            text += (
                f"; what is shuffled to count grows with exponent {grown:.2f} (aim: does not grow: "
                f"{verdict(grown <= 0.05)})"
            )
        remarks.append(text + ".")
    rows, trees, depth, limit = SCALE_SECONDS
    peak = max((max(r["peak_mb"].values(), default=0.0) for r in results), default=0.0)
    remarks.append(
        f"JVM and Python workers together at most {peak * MB / 2**30:.1f} GiB (aim ≤ {SCALE_BYTES / 2**30:g} GiB: "
        f"{verdict(peak * MB <= SCALE_BYTES)})."
    )
    for r in results:
        if (r["rows"], r["trees"], r["depth"]) == (rows, trees, depth):
            remarks.append(
                f"{_shape(r)}: {r['seconds'] / 60:.1f} minutes (aim < {limit / 60:g}: {verdict(r['seconds'] < limit)})."
            )
    return remarks


def scale_section(results: list[Result]) -> str:
    """Return the section of tables of growing size."""
    good, errors = _good(results)
    if not good:
        return "\n\n".join(["## Size", *errors])
    text = (
        f"{good[0]['trees']} trees of depth {good[0]['depth']}, strategy `data_parallel`, from Parquet to a model, "
        f"Python workers warm; heap of the JVM {good[0]['driver_memory']}."
    )
    return "\n\n".join(["## Size", text, _sizes(good), _parts(good), *_scale_remarks(good), *errors])


def counting_section(r: Result) -> str:
    """Return the section of the counting kernel: measured, and what the cost model makes of it."""
    rows = [
        ["UNIT" if x["case"][0] == UNIT else "PACKED", str(x["case"][1]), str(x["case"][2]), number(x["measured"]),
         number(x["fitted"])]
        for x in r["cases"]
    ]  # fmt: skip
    header = ["layout", "features a node", "depth", "CPU ns a row and tree", "cost model"]
    packed, unit = r["update"]
    text = (
        f"`core.counting.add_block` on {r['rows']:,} random rows, all nodes of a level, one thread. The cost model of "
        f"[scaling.md](scaling.md) is fitted to these: a draw {number(r['draw'])} ns, a step {number(r['step'])} ns, "
        f"an update {number(packed)} ns (PACKED) or {number(unit)} ns (UNIT), and {number(r['far'])} ns more where a "
        f"tree's histograms exceed 1 MiB."
    )
    return "\n\n".join(["## Counting", text, markdown(header, rows)])


def strategies_section(r: Result) -> str:
    """Return the section of the two strategies side by side."""
    rows = [[f"`{name}`", ", ".join(number(x) for x in taken)] for name, taken in r["seconds"].items()]
    same = "the same digest" if len(r["digests"]) == 1 else f"DIFFERENT digests: {r['digests']}"
    remark = (
        f"`data_parallel` takes {r['ratio']:.2f} times as long (median of pairs, aim ≤ {STRATEGY_RATIO:g}: "
        f"{verdict(r['ratio'] <= STRATEGY_RATIO)}), {same}."
    )
    table = markdown(["strategy", "seconds, in turn"], rows)
    return "\n\n".join(["## Strategies", f"{_shape(r)}.", table, remark])


def executors_section(results: list[Result]) -> str:
    """Return the section of one executor and two."""
    good, errors = _good(results)
    rows = [
        [str(r["executors"]), number(r["seconds"]), number(r["first_pass_seconds"]), number(r["pack_seconds"]),
         number(sum(x["seconds"] for x in r["passes"])), r["digest"][:12]]
        for r in good
    ]  # fmt: skip
    header = ["executors of 1 core", "seconds", "first pass", "pack", "passes", "digest"]
    parts = ["## Executors"]
    if good:
        parts += [f"{_shape(good[0])}, on a standalone cluster on loopback.", markdown(header, rows)]
    if len(good) == 2:
        ratio = good[0]["seconds"] / good[1]["seconds"]
        same = "the same digest" if good[0]["digest"] == good[1]["digest"] else "DIFFERENT digests"
        aim = f"aim ≥ {EXECUTOR_RATIO:g}: {verdict(ratio >= EXECUTOR_RATIO)}"
        parts.append(f"Two executors are {ratio:.2f} times as fast as one ({aim}), {same}.")
    return "\n\n".join([*parts, *errors])


def memory_of(text: str) -> int:
    """Return the bytes of a memory size as Spark writes it."""
    return int(float(text[:-1]) * {"k": 2**10, "m": 2**20, "g": 2**30}[text[-1].lower()])


def spill_section(r: Result) -> str:
    """Return the section of rows that memory does not hold."""
    good, errors = _good([r["small"], r["ample"]])
    if len(good) < 2:
        return "\n\n".join(["## Rows that memory does not hold", *errors])
    small, ample = good
    heap = memory_of(small["executor_memory"]) * small["executors"]
    packed = small["packed_bytes"]
    named = {f"an executor of {small['executor_memory']}": small, "local, with memory to spare": ample}
    keys = ("storage_bytes", "stored_memory", "stored_disk", "spilled")
    rows = [
        [name, number(x["seconds"]), *(number(x[key] / MB) for key in keys), number(max(x["worker_mb"].values())),
         x["digest"][:12]]
        for name, x in named.items()
    ]  # fmt: skip
    header = [
        "", "seconds", "room for blocks, MB", "blocks in memory, MB", "blocks on disk, MB", "sorts spilled, MB",
        "largest worker, MB", "digest",
    ]  # fmt: skip
    same = small["digest"] == ample["digest"]
    ratio = packed / heap
    aim = f"aim ≥ {SPILL_RATIO:g} and the same digest: {verdict(ratio >= SPILL_RATIO and same)}"
    remark = (
        f"The packed rows ({number(packed / MB)} MB) are {ratio:.1f} times the executor's heap ({aim}), "
        f"{packed / small['storage_bytes']:.1f} times its room for blocks; the source "
        f"({number(small['source_bytes'] / MB)} MB) is {small['source_bytes'] / heap:.1f} times the heap. "
        f"Digests are {'equal' if same else 'DIFFERENT'}."
    )
    table = markdown(header, rows)
    return "\n\n".join(["## Rows that memory does not hold", f"{_shape(small)}.", table, remark])


SECTIONS: dict[str, Callable[[Any], str]] = {
    "counting": counting_section,
    "scale": scale_section,
    "strategies": strategies_section,
    "executors": executors_section,
    "spill": spill_section,
}
