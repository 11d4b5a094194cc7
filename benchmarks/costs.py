"""The cost model of ``data_parallel`` training: seconds, bytes and memory from a training's sizes (docs/scaling.md).

Sizes come from the engine's own code, pass by pass (`benchmarks.simulation`); seconds from those and a few measured
`Constants`. ``python -m benchmarks.costs`` prints what they say, ``--measure`` measures the kernel's again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarks.simulation import Pass, Work, first_pass, passes_of, stand_in
from spark_uplift.core import counting
from spark_uplift.core.dtypes import LANES, PACKED, UNIT
from spark_uplift.core.grower import Grower
from spark_uplift.core.records import record_words

IN_BAG = 1 - float(np.exp(-1))
"""Share of the rows that a Poisson bootstrap holds at least once."""

NEAR_BYTES = 2**20
"""Histograms of one tree that are about what a core's own cache holds beside the rows."""


@dataclass(frozen=True)
class Constants:
    """What was measured; nanoseconds of one core, where not said otherwise.

    Attributes
    ----------
    draw : float
        A row and tree: how often is the row in the bag. `measure`.
    step : float
        A row in the bag, tree and level: one step down the tree. `measure`.
    update : tuple of float
        A row in an open node and feature, by the layout of the lanes: PACKED, UNIT. `measure`.
    far : float
        What an update takes more where a tree's histograms are more than ``NEAR_BYTES``. `measure`.
    read : float
        A row and column in the first pass: Parquet, Arrow, Python, checks, sample. From a fit, `calibrated`.
    pack : float
        A row and column when rows are packed. From a fit, `calibrated`.
    ship, grow : float
        A row of a small node: sent to the task that finishes it; and its levels there. Of the engine's `plan`.
    job : float
        Seconds of a Spark job with a shuffle, whatever it counts. From a fit of next to no rows, `calibrated`.
    task : float
        Seconds of the driver for a task. Assumed: 2,000 tasks a second.
    network, disk : float
        Bytes a second and core that a cluster shuffles over the network, and writes to local disks. Assumed: 10 Gbit/s
        and 1 GB/s for eight cores.
    """

    draw: float = 2.4
    step: float = 0.9
    update: tuple[float, float] = (0.9, 2.0)
    far: float = 1.0
    read: float = 90.0
    pack: float = 90.0
    ship: float = 450.0
    grow: float = 6.0
    job: float = 0.6
    task: float = 0.0005
    network: float = 1.25e9 / 8
    disk: float = 1e9 / 8


@dataclass(frozen=True)
class Cost:
    """What a part of a training takes.

    Attributes
    ----------
    name : str
    cpu : float
        Seconds of one core, in tasks.
    seconds : float
        On the clock, with all slots busy.
    read, shuffled : float
        Bytes.
    driver : float
        Seconds of the driver's one thread, in which no task runs.
    """

    name: str
    cpu: float
    seconds: float
    read: float
    shuffled: float
    driver: float = 0.0


def counting_cpu(work: Work, found: Pass, constants: Constants) -> float:
    """Return the CPU seconds of a counting pass.

    Every row is drawn for, and those in the bag walk down, each of the pass's trees; those that end in a node of the
    pass are added to the histogram of each of its features.
    """
    update = constants.update[0 if work.spec.grid.layout == PACKED else 1]
    update += constants.far * (found.histograms / found.trees > NEAR_BYTES)
    drawn = work.rows * found.trees * (constants.draw + IN_BAG * found.depth * constants.step)
    added = found.open_rows * IN_BAG * min(work.features_per_node, work.features) * update
    return (drawn + added) * 1e-9


def finishing_cpu(work: Work, found: Pass, constants: Constants) -> float:
    """Return the CPU seconds of a pass that sends the rows of small nodes and finishes them."""
    drawn = work.rows * found.trees * (constants.draw + IN_BAG * found.depth * constants.step)
    below = constants.ship + constants.grow * (work.depth - found.depth)
    return (drawn + found.open_rows * IN_BAG * below) * 1e-9


def costs(work: Work, constants: Constants, passes: Iterable[Pass], cluster: bool = False) -> list[Cost]:
    """Return the cost of each part: the first pass, packing, and the passes of each level.

    Parameters
    ----------
    passes : iterable of Pass
        From `benchmarks.simulation.run`.
    cluster : bool
        Whether the assumed network and disks, and the scheduling of many tasks, count too.
    """
    columns, first = work.features + 3, first_pass(work)
    source = work.rows * columns * work.value_bytes

    def cost(
        name: str, cpu: float, read: float, shuffled: float, tasks: int, driver: float, jobs: int = 1
    ) -> Cost:
        moving = shuffled / work.slots * (1 / constants.network + 1 / constants.disk) if cluster else 0.0
        scheduling = max(jobs * constants.job, tasks * constants.task) if cluster else jobs * constants.job
        return Cost(name, cpu, cpu / work.slots + moving + scheduling + driver, read, shuffled, driver)

    out = [
        cost(
            "first pass",
            work.rows * columns * constants.read * 1e-9,
            source,
            first.shuffled,
            first.partitions,
            0.0,
        ),
        cost("pack", work.rows * columns * constants.pack * 1e-9, source, 0.0, first.partitions, 0.0),
    ]
    parts: dict[str, list[Pass]] = {}
    for found in passes:
        parts.setdefault(
            f"count depth {found.depth}" if found.kind == "counted" else "finish small nodes", []
        ).append(found)
    for name, level in parts.items():
        of = counting_cpu if level[0].kind == "counted" else finishing_cpu
        out.append(
            cost(
                name,
                sum(of(work, found, constants) for found in level),
                work.block_bytes * len(level),
                sum(found.shuffled for found in level),
                sum(work.limits.tasks + found.reducers for found in level),
                sum(found.driver_seconds for found in level) if cluster else 0.0,
                len(level),
            )
        )
    return out


@dataclass(frozen=True)
class Memory:
    """The most that one process holds, in bytes, beside the interpreter with its packages (about 200 MB)."""

    counting_task: float
    reducing_task: float
    first_reducer: float
    driver: float


def memory(work: Work, passes: Sequence[Pass]) -> Memory:
    """Return the memory of tasks and driver.

    A counting task holds the histograms of its group, the layout of the group and the blocks that Spark hands over
    together (64 MiB at most); a reducing task a bucket of all tasks, and one part summed. A reducer of the first
    pass holds the sampled rows of its features once as they came and once side by side, or a share of the tallies.
    """
    layout = max(
        (found.nodes * min(work.features_per_node, work.features) * 16 for found in passes), default=0
    )
    first = first_pass(work)
    return Memory(
        counting_task=max((found.histograms for found in passes), default=0) + layout + 64 * 2**20,
        reducing_task=max((found.bucket_bytes for found in passes), default=0) * 1.5,
        first_reducer=2 * max(first.sample_bytes, first.tally_bytes),
        driver=max((found.held + found.collected + 2 * found.closure for found in passes), default=0),
    )


def _rows(work: Work, rows: int) -> tuple[Any, Any]:
    """Return random records and units: codes of all bins, two arms, 5 % with the outcome."""
    rng = np.random.default_rng(1)
    width = record_words(work.features, work.spec.grid.layout)
    words = np.zeros((rows, width), np.uint64)
    octets = words.view(np.uint8)
    octets[:, 0] = rng.integers(0, work.arms, rows)
    octets[:, 1] = 1
    octets[:, 4 : 4 + work.features] = rng.integers(1, work.bins + 1, (rows, work.features))
    outcome = rng.random(rows) < 0.05
    if work.spec.grid.layout == PACKED:
        words.view(np.int16)[:, 1] = outcome
    else:
        words[:, width - LANES[UNIT] :] = np.stack([np.ones(rows), outcome, outcome], axis=1)
    return words, rng.integers(0, 2**63, rows).astype(np.uint64)


def _timed(work: Work, words: Any, units: Any, depth: int, repeats: int) -> float:
    """Return the best CPU nanoseconds a row and tree of counting all nodes of a level."""
    spec = work.spec
    grower = Grower(spec, None)  # type: ignore[arg-type]  # no gain is asked for
    for _ in range(depth):
        grower.apply({n.key: _even(spec, n, work.rows) for group in grower.frontier() for n in group})
    nodes = tuple(node for group in grower.frontier() for node in group)
    group = counting.lay_out(grower.trees_so_far(), nodes)
    cells = np.zeros(group.length, np.int64)
    best = np.inf
    for _ in range(repeats + 1):  # the first one loads the kernel
        start = time.process_time()
        for first in range(0, len(words), 65_536):
            counting.add_block(
                spec, group, words[first : first + 65_536], units[first : first + 65_536], cells
            )
        best = min(best, time.process_time() - start)
    return float(best) / len(words) / work.trees * 1e9


def _even(spec: Any, node: Any, rows: int) -> Any:
    """Return a stand-in decision that says what the random rows do: half of them go left."""
    found = stand_in(spec, node, rows)
    return replace(found, left=found.stats // 2)


def measure(
    rows: int = 1_000_000, trees: int = 2, depths: tuple[int, ...] = (0, 2, 4, 6, 8), repeats: int = 3
) -> Any:
    """Time `core.counting.add_block` on random rows in one thread, and fit draw, step, update and far to it.

    Returns
    -------
    dict
        ``draw``, ``step``, ``update``, ``far`` (see `Constants`), and what was ``measured`` and ``fitted`` for each
        case of [layout, features a node, depth], in nanoseconds a row and tree.
    """
    lines, cases = [], []
    for size in (rows, 10**9):  # PACKED, and more rows than its sums hold: UNIT
        for m in (3, 12):
            work = Work(
                rows=size, features=12, trees=trees, depth=max(depths) + 1, features_per_node=m, slots=1
            )
            words, units = _rows(work, rows)
            for depth in depths:
                updates, layout = IN_BAG * m, work.spec.grid.layout
                far = 2**depth * 8 * m * (work.bins + 1) * work.arms * LANES[layout] > NEAR_BYTES
                near = [updates * (layout == PACKED), updates * (layout == UNIT)]
                lines.append([1.0, IN_BAG * depth, *near, updates * far])
                cases.append(([layout, m, depth], _timed(work, words, units, depth, repeats)))
    taken = np.array([ns for _, ns in cases])
    # relative residuals: a cheap case counts as much as a dear one
    found, *_ = np.linalg.lstsq(np.array(lines) / taken[:, None], np.ones(len(cases)), rcond=None)
    fitted = np.array(lines) @ found
    draw, step, packed, unit, far = found.tolist()
    return {
        "rows": rows, "draw": draw, "step": step, "update": [packed, unit], "far": far,
        "cases": [
            {"case": case, "measured": ns, "fitted": float(fit)} for (case, ns), fit in zip(cases, fitted, strict=True)
        ],
    }  # fmt: skip


def counting_kernel(settings: Any, _: dict[str, Any]) -> Any:
    """Measure in a contender's own process."""
    return measure(settings.rows)


def work_of(result: dict[str, Any], slots: int) -> Work:
    """Return the sizes of a measured fit of the section ``scale``."""
    features = 12
    return Work(
        rows=result["rows"], features=features, trees=result["trees"], depth=result["depth"],
        features_per_node=features, slots=slots, value_bytes=result["source_bytes"] / result["rows"] / (features + 3),
    )  # fmt: skip


def calibrated(results: list[dict[str, Any]], kernel: dict[str, Any] | None, slots: int) -> Constants:
    """Return the constants that measurements give: the kernel's, and those of a fit of the middle size."""
    constants = Constants()
    if kernel is not None:
        update = (kernel["update"][0], kernel["update"][1])
        constants = replace(
            constants, draw=kernel["draw"], step=kernel["step"], update=update, far=kernel["far"]
        )
    if results:
        fit = results[len(results) // 2]
        values = fit["rows"] * (12 + 3) / slots
        job = fit["fixed_seconds"] / (2 + fit["depth"]) if fit.get("fixed_seconds") else constants.job
        constants = replace(
            constants, job=job, read=max(0.0, fit["first_pass_seconds"] - job) / values * 1e9,
            pack=max(0.0, fit["pack_seconds"] - job) / values * 1e9,
        )  # fmt: skip
    return constants


LARGE = Work(rows=10**10, features=200, trees=500, depth=8, features_per_node=15, slots=1000)
"""What docs/scaling.md speaks of: 15 is the default, the root of the number of features."""


def main() -> int:
    """Print the simulated passes and the costs of a training."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=main.__doc__)
    for name, value in asdict(LARGE).items():
        if name not in ("tasks", "group_bytes"):
            kind = float if name == "value_bytes" else lambda text: int(float(text))
            p.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value)
    for name in ("tasks", "group-bytes"):
        p.add_argument(
            f"--{name}", type=lambda text: int(float(text)), default=None, help="as the engine chooses"
        )
    p.add_argument("--results", default="docs/benchmarks.json", help="measurements that tell the constants")
    p.add_argument("--measure", action="store_true", help="measure the kernel's constants and end")
    args = vars(p.parse_args())
    if args.pop("measure"):
        print(measure())
        return 0
    from benchmarks import scaling

    constants = scaling.constants(args.pop("results"))
    work = Work(**args)
    passes = passes_of(work)
    print(scaling.passes_table(work, passes, every=True))
    print()
    print(scaling.costs_table(costs(work, constants, passes, cluster=True)))
    print()
    print(scaling.memory_text(work, passes))
    faults = [fault for found in passes for fault in found.faults(work.limits, 0)]
    print("\n".join(faults) or "Every bound holds.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
