"""The passes of a decision over its blocks, and the tasks that find prices.

ALGORITHM. Prices are the same for all units, and a sample tells them nearly:

1. A sample by hash goes to one task, which minimises the dual of its share of the limits (`policy.duals`), and says how
   far off its prices may be: quarters of the sample are solved too, and their spread gives a box around the prices.
2. One pass settles all units that choose the same arm everywhere in the box; only their number and cost matter. The
   others, the core, at most about `CORE` units, go to one task, which solves for them exactly, with what the settled
   ones leave of the limits. If the prices that it finds lie in the box, they are those of the whole problem; otherwise
   the box moves there and the pass is repeated.
3. The same task moves the few units at which even exact prices are undecided (`policy.allocation_finish`).
4. A last pass counts what everybody uses, in whole numbers, and the dual's value: the bound on what is possible.

A list no longer than the sample is solved in step 1. What is found depends on hashes and values alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.policy.allocation import F64, I64, Problem, Tilt, Units, add_worth, choose, settle, tally
from spark_uplift.policy.allocation_finish import finish
from spark_uplift.policy.duals import Dual, minimise
from spark_uplift.policy.exploration import Exploration, within
from spark_uplift.spark import arrow
from spark_uplift.spark.decide_units import PACKED, PACKED_DDL, joined, layout_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Batches = Iterator[pa.RecordBatch]

CORE = 1 << 20
"""Units that one task solves for, about."""

_QUARTERS = 4
_SAFETY = 4.0  # standard errors of the prices, in the box
_TILT = 2.0**-52  # draws add up to a millionth (2**-20) of a typical value
_WARM = 1e-2  # temperature to go on from prices that are nearly right
_STRIDE = (
    2.0  # widths that prices may move in one pass: far outside of the box, the settled units are not settled
)
_UNEXPECTED = (
    1e-3  # width, of a typical value, for a limit that no part of the sample used up and the list does
)

_SOLVED_DDL = "prices binary, widths binary, delta double, unit binary, arm binary, over binary"
_SOLVED = pa.schema([
    ("prices", pa.binary()), ("widths", pa.binary()), ("delta", pa.float64()), ("unit", pa.binary()),
    ("arm", pa.binary()), ("over", pa.binary()),
])  # fmt: skip
_TOTALS_DDL = (
    "totals binary, part int, n bigint, unit binary, net binary, allowed binary, segment binary, cost binary"
)
_TOTALS = pa.schema([("totals", pa.binary()), *PACKED])


@dataclass(frozen=True)
class Setting:
    """What all passes know.

    Attributes
    ----------
    problem : Problem
    exploration : Exploration
    keys : tuple of int
        Of each treatment's draws for ties.
    least : float
        Net value under which a treatment is not given.
    """

    problem: Problem
    exploration: Exploration
    keys: tuple[int, ...]
    least: float

    def tilt(self, delta: float) -> Tilt:
        """Return how values are compared."""
        return Tilt(self.keys, delta, self.least)


@dataclass(frozen=True)
class Solved:
    """What a task found.

    Attributes
    ----------
    prices, widths : ndarray of shape (C,), dtype=float64
        Prices, and half of the box in which they were sought.
    delta : float
        See `Tilt`.
    unit : ndarray of shape (m,), dtype=uint64
        Hashes of units that get another arm than the prices say, ascending.
    arm : ndarray of shape (m,), dtype=int8
    over : ndarray of shape (C,), dtype=int64
        What is used beyond the limits.
    """

    prices: F64
    widths: F64
    delta: float
    unit: npt.NDArray[np.uint64]
    arm: npt.NDArray[np.int8]
    over: I64

    def as_table(self) -> pa.Table:
        """Return one row of `_SOLVED`."""
        arrays = [self.prices, self.widths, None, self.unit, self.arm, self.over]
        columns = [
            pa.array([self.delta], pa.float64()) if a is None else pa.array([a.tobytes()], pa.binary())
            for a in arrays
        ]
        return pa.Table.from_arrays(columns, schema=_SOLVED)

    @classmethod
    def of(cls, row: Any) -> Solved:
        """Return the same from a row."""
        kinds = {
            "prices": np.float64,
            "widths": np.float64,
            "unit": np.uint64,
            "arm": np.int8,
            "over": np.int64,
        }
        arrays: dict[str, Any] = {name: np.frombuffer(row[name], kind) for name, kind in kinds.items()}
        return cls(**arrays, delta=row["delta"])


def sampled(blocks: DataFrame, setting: Setting, key: int, share: float) -> DataFrame:
    """Return the units that a draw picks and that do not explore, as packed rows."""
    return blocks.select(*_names()).mapInArrow(_make_sampler(setting, key, share), PACKED_DDL)


def _names() -> list[str]:
    return list(PACKED.names)


def _make_sampler(setting: Setting, key: int, share: float) -> Callable[[Batches], Batches]:
    layout = layout_of(setting.problem)

    def sample(batches: Batches) -> Batches:
        for batch in batches:
            for i in range(batch.num_rows):
                units = layout.unpack(batch, i)
                wanted = ~setting.exploration.explored(units)
                if share < 1.0:
                    wanted &= within(units.unit, key, share)
                yield pa.RecordBatch.from_arrays(layout.pack(units.take(wanted)), schema=PACKED)

    return sample


def solve_sample(sample: DataFrame, setting: Setting, left: I64, total: int, core: int) -> Solved:
    """Find prices on a sample, in one task.

    Parameters
    ----------
    left : ndarray of shape (C,), dtype=int64
        Limits less what explorers use, in steps.
    total : int
        Units that do not explore in all; if the sample is them, it is finished as well.
    core : int
        Units that the box may leave unsettled, about.
    """
    solver = _make_sample_solver(setting, left, total, core)
    (row,) = sample.repartition(1, "part").groupBy("part").applyInArrow(solver, _SOLVED_DDL).collect()
    return Solved.of(row)


def _make_sample_solver(setting: Setting, left: I64, total: int, core: int) -> Callable[[pa.Table], pa.Table]:
    problem = setting.problem
    layout = layout_of(problem)

    def solve(table: pa.Table) -> pa.Table:
        units = layout.all_of(table)
        scale = _scale(units)
        delta = scale * _TILT
        w = setting.tilt(delta).values(units)
        share = units.size / max(total, 1)
        start = np.zeros(len(left))
        prices = minimise(Dual(problem, w, units, left * share / problem.unit), start, scale)
        if units.size == total:
            return _finished(problem, w, units, prices, np.zeros_like(prices), delta, left).as_table()
        spread = np.zeros((_QUARTERS, len(left)))
        for q in range(_QUARTERS):
            mine = np.arange(q, units.size, _QUARTERS)  # in the order of the hash: any of them is a sample
            part = Dual(
                problem, w[mine], units.take(mine), left * (share * len(mine) / units.size) / problem.unit
            )
            spread[q] = minimise(part, prices, scale, _WARM)
        error = np.sqrt(np.mean((spread - prices) ** 2, axis=0) / _QUARTERS)
        widths = _fitted(problem, w, units, prices, _SAFETY * error, core * share)
        none = Solved(
            prices, widths, delta, np.zeros(0, np.uint64), np.zeros(0, np.int8), np.zeros(len(left), np.int64)
        )
        return none.as_table()

    return solve


def _scale(units: Units) -> float:
    """Return a power of two near the median of the units' best net values that are above 0; 1 without any."""
    best = units.net.max(axis=1, initial=0.0)
    best = best[best > 0]
    return float(2.0 ** np.floor(np.log2(np.median(best)))) if len(best) else 1.0


def _fitted(problem: Problem, w: F64, units: Units, prices: F64, widths: F64, most: float) -> F64:
    """Return the widths, made narrower until no more than so many units of the sample are unsettled."""
    for _ in range(60):
        if (settle(problem, w, units, prices, widths) < 0).sum() <= most:
            break
        widths = widths * 0.7
    return widths


def _finished(
    problem: Problem, w: F64, units: Units, prices: F64, widths: F64, delta: float, left: I64
) -> Solved:
    end = finish(problem, w, units, prices, left)
    hashes = units.unit[end.moved]
    order = np.argsort(hashes)
    return Solved(prices, widths, delta, hashes[order], end.arm[order], end.over)


def solve_core(blocks: DataFrame, setting: Setting, near: Solved, left: I64) -> Solved:
    """Settle whom the box settles, and solve for the others in one task (one Spark job).

    Parameters
    ----------
    near : Solved
        Prices and widths of the box.
    left : ndarray of shape (C,), dtype=int64
    """
    divided = blocks.select(*_names()).mapInArrow(_make_settler(setting, near), _TOTALS_DDL)
    solver = _make_core_solver(setting, near, left)
    (row,) = divided.repartition(1, "part").groupBy("part").applyInArrow(solver, _SOLVED_DDL).collect()
    return Solved.of(row)


def _make_settler(setting: Setting, near: Solved) -> Callable[[Batches], Batches]:
    problem, tilt = setting.problem, setting.tilt(near.delta)
    layout = layout_of(problem)

    def divide(batches: Batches) -> Batches:
        counts = np.zeros((problem.segments, problem.treatments), np.int64)
        spent = np.zeros(problem.treatments, np.int64)
        core: list[Units] = []
        for batch in batches:
            for i in range(batch.num_rows):
                units = layout.unpack(batch, i)
                units = units.take(~setting.exploration.explored(units))
                arm = settle(problem, tilt.values(units), units, near.prices, near.widths)
                more = tally(problem, units, np.maximum(arm, 0))
                counts, spent = counts + more[0], spent + more[1]
                core.append(units.take(arm < 0))
        totals = pa.array([np.append(counts.ravel(), spent).tobytes()], pa.binary())
        yield pa.RecordBatch.from_arrays([totals, *layout.pack(joined(core, layout))], schema=_TOTALS)

    return divide


def _make_core_solver(setting: Setting, near: Solved, left: I64) -> Callable[[pa.Table], pa.Table]:
    problem, tilt = setting.problem, setting.tilt(near.delta)
    layout = layout_of(problem)

    def solve(table: pa.Table) -> pa.Table:
        units = layout.all_of(table)
        totals = sum(arrow.binary(v, np.int64) for chunk in table["totals"].chunks for v in chunk)
        remaining = left - problem.used(*parted(problem, totals))
        w = tilt.values(units)
        reach = _STRIDE * near.widths
        dual, scale = Dual(problem, w, units, remaining / problem.unit), near.delta / _TILT
        prices = minimise(dual, near.prices, scale, _WARM, (near.prices - reach, near.prices + reach))
        found = _finished(problem, w, units, prices, near.widths, near.delta, remaining)
        wider = np.where((found.over > 0) & (near.widths == 0), _UNEXPECTED * scale, near.widths)
        return replace(found, widths=wider).as_table()

    return solve


def parted(problem: Problem, totals: Any) -> tuple[I64, I64]:
    """Return counts (S, K) and spending (K,) from the row that has them end to end."""
    cells = problem.segments * problem.treatments
    return totals[:cells].reshape(problem.segments, problem.treatments), totals[
        cells : cells + problem.treatments
    ]


@dataclass(frozen=True)
class Account:
    """What a decision comes to; all numbers are whole, and the same on any partitioning.

    Attributes
    ----------
    counts : ndarray of shape (S, K), dtype=int64
        Units of a segment that get a treatment.
    spent : ndarray of shape (K,), dtype=int64
        In steps.
    net : ndarray of shape (K,), dtype=float64
        Net value of the units that get it [money].
    chosen : float
        Net value of the units that do not explore [money].
    bound : float
        What an assignment of these units could be worth at most [money].
    """

    counts: I64
    spent: I64
    net: F64
    chosen: float
    bound: float


def account(blocks: DataFrame, setting: Setting, found: Solved, left: I64, n: int, top: float) -> Account:
    """Count what everybody gets and uses (one Spark job).

    Parameters
    ----------
    n : int
        Units.
    top : float
        Largest net value.
    """
    problem = setting.problem
    # 2**shift steps a unit of money: sums of n values of at most `top` fit an int64.
    shift = int(60 - np.ceil(np.log2(max(n, 1))) - np.ceil(np.log2(max(top, 1e-300))))
    counter = _make_accountant(setting, found, shift)
    rows = blocks.select(*_names()).mapInArrow(counter, "totals binary").collect()
    k, cells = problem.treatments, problem.segments * problem.treatments
    totals = np.zeros(cells + 2 * k + 2, np.int64)
    for row in rows:
        totals += np.frombuffer(row["totals"], np.int64)
    counts, spent = parted(problem, totals)
    money = totals[cells + k :] / 2.0**shift
    bound = float(money[k + 1] + found.prices @ (left / problem.unit))
    return Account(counts, spent, money[:k], float(money[k]), bound)


def _make_accountant(setting: Setting, found: Solved, shift: int) -> Callable[[Batches], Batches]:
    problem, tilt, exploration = setting.problem, setting.tilt(found.delta), setting.exploration
    layout = layout_of(problem)
    grid = 2.0**shift

    def count(batches: Batches) -> Batches:
        k, cells = problem.treatments, problem.segments * problem.treatments
        totals = np.zeros(cells + 2 * k + 2, np.int64)
        for batch in batches:
            for i in range(batch.num_rows):
                units = layout.unpack(batch, i)
                explores = exploration.explored(units)
                arm, best = decided(setting, tilt, found, units)
                best[explores] = 0.0
                arm[explores] = exploration.arms(units.take(explores))
                counts, spent = tally(problem, units, arm)
                totals[: cells + k] += np.append(counts.ravel(), spent)
                add_worth(units.net, arm, explores, grid, totals[cells + k :])
                totals[cells + 2 * k + 1] += np.ceil(best * grid).astype(np.int64).sum()
        yield pa.RecordBatch.from_arrays([pa.array([totals.tobytes()], pa.binary())], names=["totals"])

    return count


def decided(setting: Setting, tilt: Tilt, found: Solved, units: Units) -> tuple[npt.NDArray[np.int8], F64]:
    """Return the arm that units get when they do not explore, and what they are worth at the prices."""
    arm, worth = choose(setting.problem, tilt.values(units), units, found.prices)
    if len(found.unit):
        at = np.minimum(np.searchsorted(found.unit, units.unit), len(found.unit) - 1)
        arm = np.where(found.unit[at] == units.unit, found.arm[at], arm)
    return arm, worth
