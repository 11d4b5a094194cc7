"""How often 95 % intervals hold the truth: thousands of simulated experiments through the package's own pure functions.

Each world is sampled again and again with other seeds. The truth is that of the world, not of the sample: from two
million units whose effects are known. What is tested is what `su.evaluate` and `su.policy_value` do on the driver:
curves, replicates by hash on at most 400 bins, metrics, intervals.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.markdown import markdown, verdict
from benchmarks.settings import COVERAGE_RANGE, Settings

Result = dict[str, Any]
F64 = npt.NDArray[np.float64]

LEVEL = 0.95
REPLICATES = 200
BUCKETS = 10
FOLDS = 5
REFERENCE = 2_000_000
KINDS = ("poisson", "half_sample")
METHODS = ("ips", "snips", "dr")


@dataclass(frozen=True)
class World:
    """A randomised experiment whose effects are known.

    Attributes
    ----------
    name : str
    treated : float
        Share of the treated.
    binary : bool
        Else outcomes are skewed, a standard deviation about as large as the mean.
    effect : float
        Effects are between 0 and twice this, by one feature.
    """

    name: str
    treated: float
    binary: bool
    effect: float

    def draw(self, seed: list[int], n: int) -> dict[str, Any]:
        """Return n units: x, treated, y, score, tau."""
        rng = np.random.default_rng(seed)
        x = rng.random((n, 2))
        tau = self.effect * 2.0 * x[:, 0]
        treated = (rng.random(n) < self.treated).astype(np.int64)
        base = 0.05 + 0.1 * x[:, 1]
        if self.binary:
            y = (rng.random(n) < base + tau * treated).astype(np.float64)
        else:
            y = (1.0 + 10.0 * base + 10.0 * tau * treated) * rng.exponential(size=n)
            tau = 10.0 * tau
        score = x[:, 0] + 0.5 * rng.normal(size=n)
        return {"x": x, "treated": treated, "y": y, "score": score, "tau": tau}


WORLDS = (
    World("binary, half treated", 0.5, True, 0.05),
    World("skewed amounts, 20 % treated", 0.2, False, 0.05),
    World("binary, 85 % treated, no effect", 0.85, True, 0.0),
)


@dataclass(frozen=True)
class Truth:
    """A world's truth: area below the TOC, and effects by score."""

    autoc: float
    qini: float
    scores: F64
    sums: F64

    def between(self, low: F64, high: F64) -> F64:
        """Return the mean effect of units whose scores lie in the intervals."""
        first = np.searchsorted(self.scores, low, side="left")
        last = np.searchsorted(self.scores, high, side="right")
        return np.asarray((self.sums[last] - self.sums[first]) / np.maximum(last - first, 1))


@lru_cache(maxsize=1)
def truth_of(world: World, units: int = REFERENCE) -> Truth:
    """Return a world's truth from many units."""
    found = world.draw([0, 99], units)
    order = np.argsort(found["score"])
    tau = found["tau"][order]
    best_first = tau[::-1]
    ranks = np.arange(1, units + 1)
    toc = np.cumsum(best_first) / ranks - tau.mean()
    sums = np.concatenate([[0.0], np.cumsum(tau)])
    return Truth(float(toc.mean()), float((toc * ranks).mean() / units), found["score"][order], sums)


def replicated(curve: Any, score: F64, slot: F64, rows: dict[str, F64], copies: npt.NDArray[np.uint8]) -> Any:
    """Return the replicates of a curve on at most 400 bins, as `su.evaluate` has them.

    Parameters
    ----------
    curve : Curve
        Of the rows, one against control.
    score, slot : ndarray of shape (n,)
        Score, and 0 for control or 1.
    rows : dict of str to ndarray of shape (n,)
        ``y``, and ``dr`` where there are doubly robust scores.
    copies : ndarray of shape (n, R), dtype=uint8
        Count of each row in each replicate.
    """
    from spark_uplift.metrics.curves import merge_points
    from spark_uplift.metrics.replicates import accumulate, replicate_curve
    from spark_uplift.spark.evaluate_bins import Bins

    every = Bins.at(curve.low[-2::-1], curve.rows[::-1], exact=True)
    starts = np.flatnonzero(np.diff(every.coarse[::-1], prepend=-1))
    coarse = merge_points(curve, starts.tolist())
    bins = coarse.low.shape[0]
    rank = bins - np.searchsorted(coarse.low[::-1], score, side="right")

    replicates, ones = copies.shape[1], np.ones_like(score)
    sums = np.zeros((2 * bins, 2, replicates))
    cells = (rank * 2 + slot).astype(np.int32)
    accumulate(cells, np.stack([ones, rows["y"]], axis=1), copies, sums)
    sums = sums.reshape(bins, 2, 2, replicates)
    units = (1.0, 1.0, 1.0, 1.0)
    if "dr" not in rows:
        return replicate_curve(coarse, sums, None, None, units)
    scored = np.zeros((bins, 2, replicates))
    accumulate(rank.astype(np.int32), np.stack([ones, rows["dr"]], axis=1), copies, scored)
    return replicate_curve(coarse, sums, scored[:, 0], None, units, scored[:, 1])


def cross_fitted(x: F64, arm: npt.NDArray[np.int64], y: F64, units: npt.NDArray[np.uint64], arms: int) -> F64:
    """Return the built-in outcome model's predictions, as `su.doubly_robust` makes them, shape (n, arms)."""
    from spark_uplift.core.binning import FeatureBins, encode_numeric, weighted_edges
    from spark_uplift.metrics.nuisance import fit_outcomes, fold_of
    from spark_uplift.metrics.nuisance_design import FINE_BINS, Grid, add_rows, choose_design, predict

    n, width = x.shape
    fine = [FeatureBins(f"x{j}", weighted_edges(x[:, j], None, FINE_BINS)) for j in range(width)]
    design = choose_design(fine, {})
    codes = np.empty((n, width), np.uint8)
    linear = np.empty((n, width), np.int64)
    for j in range(width):
        encode_numeric(design.features[j], x[:, j], j, codes)
        linear[:, j] = design.standardised(j, x[:, j])
    fold = fold_of(1, units, FOLDS)
    p = design.columns
    sums, totals = np.zeros((FOLDS * arms, p, p + 2), np.int64), np.zeros((FOLDS * arms, 2), np.int64)
    grid = Grid.choose(n, float(np.abs(y).max()), False, None)
    add_rows(design, grid, fold * arms + arm, codes, linear, None, y, sums, totals)
    model = fit_outcomes(sums.reshape(FOLDS, arms, p, p + 2), design, grid)
    return np.clip(predict(design, model.coefficients, fold, codes, linear), y.min(), y.max())


def one_experiment(
    world: World, number: int, n: int, seed: int, reference: int = REFERENCE
) -> list[tuple[str, str, float, float, float]]:
    """Return (what, interval, lower, upper, truth) of one sample of a world."""
    from spark_uplift.metrics import Pair, Rows, curve_from_rows, find
    from spark_uplift.metrics.inference import bootstrap_error, normal_interval
    from spark_uplift.metrics.nuisance import aipw
    from spark_uplift.metrics.replicates import count_copies
    from spark_uplift.metrics.tables import uplift_columns

    truth = truth_of(world, reference)
    found = world.draw([seed, number], n)
    y, arm, score = found["y"], found["treated"], found["score"]
    units = np.random.default_rng([seed, number, 7]).integers(0, 2**64, n, dtype=np.uint64)
    own = np.where(arm == 1, world.treated, 1.0 - world.treated)
    values = aipw(y, arm, own, cross_fitted(found["x"], arm, y, units, 2))
    dr = values[:, 1] - values[:, 0]
    out = []
    for kind in KINDS:
        copies = count_copies(units, seed + number, REPLICATES, kind)
        for name, rows in (("", {"y": y}), (", doubly robust scores", {"y": y, "dr": dr})):
            scores = dr[:, None] if name else None
            curve = curve_from_rows(Rows.of(y=y, arm=arm, dr=scores), score)
            pair, drawn = Pair.of(curve), Pair.of(replicated(curve, score, arm, rows, copies))
            for metric, true in (("autoc", truth.autoc), ("qini", truth.qini)):
                compute = find(metric).compute
                bounds = normal_interval(compute(pair), bootstrap_error(compute(drawn)), LEVEL)
                shown = f"{metric.upper()}{name}"
                out.append((shown, kind, float(bounds.lower), float(bounds.upper), true))
            if kind == KINDS[0]:
                table = uplift_columns(pair, BUCKETS, LEVEL)
                low, high = np.array(table["score_min"]), np.array(table["score_max"])
                inside = truth.between(low, high)
                for b, bucket in enumerate(table["bucket"]):
                    shown = f"uplift, decile {bucket}{name}"
                    out.append((shown, "analytic", table["lower"][b], table["upper"][b], float(inside[b])))
    return out


def logged(number: int, n: int, seed: int, binary: bool) -> dict[str, Any]:
    """Return rows of three actions logged with propensities of 0.1 to 0.7, and a policy that differs from them."""
    rng = np.random.default_rng([seed, number, 3])
    x = rng.random((n, 2))
    odds = np.column_stack([np.ones(n), 0.4 + 2.0 * x[:, 0], np.full(n, 0.6)])
    e = odds / odds.sum(axis=1, keepdims=True)
    mean = np.column_stack([0.1 + 0.1 * x[:, 1], 0.1 + 0.2 * x[:, 0] ** 2, 0.15 + 0.1 * x[:, 1] * x[:, 0]])
    policy = np.zeros((n, 3))
    policy[np.arange(n), np.where(x[:, 0] > 0.6, 1, 2)] = 0.9
    policy += 0.1 / 3
    action = (rng.random(n)[:, None] > np.cumsum(e, axis=1)).sum(axis=1)
    chosen = mean[np.arange(n), action]
    y = (rng.random(n) < chosen).astype(np.float64) if binary else chosen * 10 * rng.exponential(size=n)
    scale = 1.0 if binary else 10.0
    return {
        "x": x,
        "e": e,
        "policy": policy,
        "action": action,
        "y": y,
        "true": scale * (policy * mean).sum(axis=1),
    }


@lru_cache(maxsize=2)
def policy_truth(binary: bool, units: int = REFERENCE) -> float:
    """Return the policy's value in the world."""
    return float(logged(0, units, 99, binary)["true"].mean())


def one_policy(
    number: int, n: int, seed: int, binary: bool, reference: int = REFERENCE
) -> list[tuple[str, str, float, float, float]]:
    """Return (method, interval, lower, upper, truth) of one logged sample."""
    from spark_uplift.policy.value import estimate

    found = logged(number, n, seed, binary)
    rows, action = np.arange(n), found["action"]
    units = np.random.default_rng([seed, number, 8]).integers(0, 2**64, n, dtype=np.uint64)
    mu = cross_fitted(found["x"], action, found["y"], units, 3)
    estimates = estimate(
        found["y"],
        found["policy"][rows, action] / found["e"][rows, action],
        methods=METHODS,
        predicted=mu[rows, action],
        policy_predicted=(found["policy"] * mu).sum(axis=1),
        units=units,
        interval=("normal", "bootstrap"),
        level=LEVEL,
        bootstrap=REPLICATES,
        seed=seed + number,
    )
    true = policy_truth(binary, reference)
    return [(f"policy value, {e.method}", e.interval, e.lower, e.upper, true) for e in estimates]


def _chunk(job: tuple[str, Any, range, int, int, int]) -> list[list[tuple[str, str, float, float, float]]]:
    kind, world, numbers, n, seed, reference = job
    if kind == "policy":
        return [one_policy(number, n, seed, world, reference) for number in numbers]
    return [one_experiment(world, number, n, seed, reference) for number in numbers]


def simulate(settings: Settings, job: Result) -> Result:
    """Draw every world `sets` times and count how often intervals hold the truth."""
    sets, n, reference = int(job["sets"]), settings.rows, job.get("reference", REFERENCE)
    step = max(1, sets // (4 * settings.threads))
    chunks = [range(first, min(first + step, sets)) for first in range(0, sets, step)]
    worlds: list[tuple[str, str, Any]] = [("experiment", world.name, world) for world in WORLDS]
    worlds += [("policy", "three actions, binary", True), ("policy", "three actions, skewed amounts", False)]
    rows: list[Result] = []
    with ProcessPoolExecutor(settings.threads) as pool:
        for kind, name, world in worlds:
            jobs = [(kind, world, numbers, n, settings.seed, reference) for numbers in chunks]
            drawn = [one for chunk in pool.map(_chunk, jobs) for one in chunk]
            rows += [{"world": name, **row} for row in _counted(drawn)]
    return {"rows": n, "sets": sets, "replicates": REPLICATES, "level": LEVEL, "coverage": rows}


def _counted(drawn: list[list[tuple[str, str, float, float, float]]]) -> list[Result]:
    """Return coverage and width by what was estimated; deciles are also taken together."""
    by_key: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for one in drawn:
        for what, kind, lower, upper, true in one:
            by_key.setdefault((what, kind), []).append((lower, upper, true))
    found = []
    for (what, kind), intervals in by_key.items():
        lower, upper, true = np.array(intervals).T
        found.append({
            "what": what, "interval": kind, "intervals": len(intervals),
            "covered": float(((lower <= true) & (true <= upper)).mean()),
            "above": float((lower > true).mean()), "below": float((upper < true).mean()),
            "width": float(np.mean(upper - lower)), "undefined": int((~np.isfinite(lower + upper)).sum()),
        })  # fmt: skip
    return found


def section(run: Callable[..., Result]) -> Callable[[Settings, Namespace], list[Result]]:
    """Return the section; ``run`` starts a contender."""

    def coverage(settings: Settings, args: Namespace) -> list[Result]:
        """Simulate experiments of each size in a process of its own."""
        return [
            run("coverage", replace(settings, rows=rows), args, sets=args.coverage_sets)
            for rows in args.coverage_rows
        ]

    return coverage


_DECILE = "uplift, decile "


def _cells(rows: list[Result]) -> tuple[str, bool]:
    """Return how often intervals held the truth, deciles with their range, and whether that is as aimed at."""
    low, high = COVERAGE_RANGE
    shares = [row["covered"] for row in rows]
    mean = sum(row["covered"] * row["intervals"] for row in rows) / sum(row["intervals"] for row in rows)
    shown = f"{100 * mean:.1f}"
    if len(rows) > 1:
        shown += f" ({100 * min(shares):.1f} to {100 * max(shares):.1f})"
    return shown, low <= mean <= high


def _matrix(found: list[Result], worlds: list[str]) -> str:
    """Return a table with a row for each kind of interval and a column for each world."""
    kinds: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for row in found:
        if row["world"] in worlds:
            what = row["what"]
            if what.startswith(_DECILE):
                what = "uplift per decile" + what.removeprefix(_DECILE).lstrip("0123456789")
            kinds.setdefault((what, row["interval"]), {}).setdefault(row["world"], []).append(row)
    lines = []
    for (what, interval), by_world in kinds.items():
        cells = [_cells(by_world[world]) for world in worlds]
        lines.append(
            [f"{what}: {interval}", *(shown for shown, _ in cells), verdict(all(ok for _, ok in cells))]
        )
    return markdown(["covered, %", *worlds, "aim"], lines)


def table(results: list[Result]) -> str:
    """Return the section of the coverage."""
    low, high = COVERAGE_RANGE
    parts = ["## Coverage of 95 % intervals"]
    for r in results:
        if "error" in r:
            parts.append(f"failed: {r['error']}")
            continue
        error = 100 * (LEVEL * (1 - LEVEL) / r["sets"]) ** 0.5
        worlds = list(dict.fromkeys(row["world"] for row in r["coverage"]))
        values = {row["world"] for row in r["coverage"] if row["what"].startswith("policy value")}
        parts.append(
            f"{r['sets']:,} simulated experiments of {r['rows']:,} rows a world, {r['replicates']} replicates. The "
            f"simulation's own standard error is {error:.1f} points. Aim: {100 * low:.0f} to {100 * high:.0f} %; of "
            "deciles all ten together (in brackets the least and the most of them)."
        )
        parts.append(_matrix(r["coverage"], [world for world in worlds if world not in values]))
        parts.append(_matrix(r["coverage"], [world for world in worlds if world in values]))
    return "\n\n".join(parts)
