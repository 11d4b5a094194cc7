"""How often a personalization test decides wrongly: simulated campaigns with known truth, without Spark.

Each campaign is drawn anew: units, arms, outcomes. Forests are grown and candidates valued as the step ``personalize
learn`` does it, fold after fold, and the decision is taken by the same function, ``policy.choice.choose``.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.markdown import markdown, number, verdict
from benchmarks.settings import Settings

F64 = npt.NDArray[np.float64]
ARMS, FEATURES, FOLDS, LEVEL = 3, 6, 5, 0.95
CANDIDATES: tuple[tuple[str, float], ...] = (("gradient", 500.0), ("gradient", 50.0), ("ed", 100.0))
FALSE_CHOICE = 0.05
"""At most so often should personalisation be chosen where there is nothing to gain."""


@dataclass(frozen=True)
class World:
    """What is true: the effect of each treatment on a unit is ``average + strength * sign(feature)``."""

    name: str
    average: tuple[float, float]
    strength: float
    costs: tuple[float, float, float] = (0.0, 0.0, 0.0)


WORLDS = (
    World("no effect at all", (0.0, 0.0), 0.0),
    World("the same effect for all, both arms alike", (0.05, 0.05), 0.0),
    World("one arm better for all", (0.08, 0.04), 0.0),
    World("the same effect for all, as large as its cost", (0.05, 0.05), 0.0, (0.0, 0.05, 0.05)),
    World("who gets what matters", (0.05, 0.05), 0.06),
)


def draw(world: World, units: int, seed: int) -> tuple[F64, npt.NDArray[np.int64], F64, F64]:
    """Return features, arms, outcomes (0 and 1), and the true mean of each arm for each unit."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((units, FEATURES))
    base = 0.2 + 0.1 * (x[:, 2] > 0)
    truth = np.stack(
        [base, *(base + world.average[k] + world.strength * np.sign(x[:, k]) for k in (0, 1))], axis=1
    )
    arm = rng.integers(0, ARMS, units)
    y = (rng.random(units) < truth[np.arange(units), arm]).astype(np.float64)
    return x, arm, y, truth


def _encoded(x: F64) -> tuple[tuple[Any, ...], npt.NDArray[np.uint8]]:
    from spark_uplift.core.binning import FeatureBins, encode_numeric, weighted_edges

    bins = tuple(
        FeatureBins(f"f{j}", weighted_edges(np.ascontiguousarray(x[:, j]), None, 32)) for j in range(FEATURES)
    )
    codes = np.empty(x.shape, np.uint8)
    for j, feature in enumerate(bins):
        encode_numeric(feature, np.ascontiguousarray(x[:, j]), j, codes)
    return bins, codes


def grow(
    bins: tuple[Any, ...], codes: Any, arm: Any, y: F64, candidate: tuple[str, float], seed: int
) -> Callable[[Any], F64]:
    """Return a function that predicts the effects, shape (n, treatments), by a forest grown on these rows."""
    from spark_uplift.core import fixedpoint, growing, prediction, records
    from spark_uplift.core.growing import ForestSpec
    from spark_uplift.criteria import registry
    from spark_uplift.criteria.signature import NORMALIZATION_CODES

    criterion, shrinkage = candidate
    n = codes.shape[0]
    grid = fixedpoint.choose(
        rows=n,
        outcome_bound=1.0,
        outcome_whole=True,
        outcome_binary=True,
        weight_bound=None,
        needs_squares=registry.get(criterion).needs_squares,
    )
    words = records.pack(codes, arm.astype(np.uint8), fixedpoint.lanes(grid, y, None), grid.layout)
    units = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
    means = [y[arm == a].mean() if (arm == a).any() else 0.0 for a in range(ARMS)]
    spec = ForestSpec(
        n_codes=np.array([b.n_codes for b in bins], np.int64), categorical=np.zeros(len(bins), np.bool_),
        n_arms=ARMS, grid=grid, num_trees=10, max_depth=3, min_node=100, min_arm=20, n_reg=100.0,
        shrinkage=shrinkage, normalization=NORMALIZATION_CODES["paper"], features_per_node=3, bootstrap=True,
        subsampling_rate=1.0, honest=False, intervals=False, seed=seed,
        prior=tuple(means[a] - means[0] for a in range(1, ARMS)),
    )  # fmt: skip
    trees = [t for _, t in growing.grow_trees(words, units, spec, registry.get(criterion).gain, range(10))]
    packed = prediction.pack(trees)
    return lambda rows: prediction.predict(packed, rows)


def _scores(x: F64, arm: Any, y: F64, fold: Any) -> F64:
    """Return doubly robust scores of every arm: linear outcome models of the other folds, known propensities."""
    from spark_uplift.metrics.nuisance import aipw

    design = np.column_stack([np.ones(len(y)), x])
    predicted = np.empty((len(y), ARMS))
    for f in range(FOLDS):
        for a in range(ARMS):
            seen = (fold != f) & (arm == a)
            predicted[fold == f, a] = (
                design[fold == f] @ np.linalg.lstsq(design[seen], y[seen], rcond=None)[0]
            )
    return aipw(y, arm.astype(np.int64), np.full(len(y), 1.0 / ARMS), predicted)


def decide(world: World, units: int, seed: int) -> dict[str, Any]:
    """Run one campaign; return the decision, the gain's interval, and what was truly gained on average."""
    from spark_uplift.policy.choice import FoldSums, choose

    x, arm, y, truth = draw(world, units, seed)
    fold = np.random.default_rng(seed + 10**6).integers(0, FOLDS, units)
    costs = np.array(world.costs)
    net, true_net = _scores(x, arm, y, fold) - costs, truth - costs
    bins, codes = _encoded(x)
    chosen = np.zeros((units, len(CANDIDATES)), np.int64)
    for f in range(1, FOLDS):
        seen, here = fold < f, fold == f
        for c, candidate in enumerate(CANDIDATES):
            effects = grow(bins, codes[seen], arm[seen], y[seen], candidate, seed)(codes[here])
            chosen[here, c] = np.argmax(np.column_stack([np.zeros(len(effects)), effects]) - costs, axis=1)
    picked = np.take_along_axis(net, chosen, axis=1)

    def per_fold(values: F64) -> F64:
        return np.array([values[fold == f].sum(axis=0) for f in range(FOLDS)])

    sums = FoldSums(
        n=per_fold(np.ones(units)),
        candidates=per_fold(picked),
        candidates_sq=per_fold(picked**2),
        arms=per_fold(net),
        arms_sq=per_fold(net**2),
        pairs_sq=per_fold((picked[:, :, None] - net[:, None, :]) ** 2),
    )
    found = choose(sums, LEVEL)
    return {
        "personalise": found.personalise,
        "lower": found.gain.lower,
        "upper": found.gain.upper,
        "truth": _true_gain(sums, fold, chosen, true_net),
    }


def _true_gain(sums: Any, fold: Any, chosen: Any, true_net: F64) -> float:
    """Return what the picks of `choose` truly gain on the units that they were tested on."""
    total, n = 0.0, 0
    for f in range(1, FOLDS):
        here = fold == f
        c = int(np.argmax(sums.candidates[1:f].sum(axis=0))) if f > 1 else 0
        a = int(np.argmax(sums.arms[:f].sum(axis=0)))
        ours = np.take_along_axis(true_net[here], chosen[here, c][:, None], axis=1)[:, 0]
        total += float((ours - true_net[here, a]).sum())
        n += int(here.sum())
    return total / n


def section(settings: Settings, args: Namespace) -> dict[str, Any]:
    """Simulate campaigns of every world."""
    found = []
    for world in WORLDS:
        runs = [decide(world, args.campaign_units, settings.seed + i) for i in range(args.campaigns)]
        covered = [run["lower"] <= run["truth"] <= run["upper"] for run in runs]
        found.append(
            {
                "world": world.name,
                "to_gain": world.strength > 0,
                "personalised": float(np.mean([run["personalise"] for run in runs])),
                "coverage": float(np.mean(covered)),
                "truth": float(np.mean([run["truth"] for run in runs])),
            }
        )
    return {"campaigns": args.campaigns, "units": args.campaign_units, "worlds": found}


def table(found: dict[str, Any]) -> str:
    """Return the section's text."""
    rows = []
    for world in found["worlds"]:
        share = world["personalised"]
        aim = "" if world["to_gain"] else f"≤ {FALSE_CHOICE:.0%}: {verdict(share <= FALSE_CHOICE)}"
        rows.append([world["world"], f"{share:.1%}", aim, f"{world['coverage']:.1%}", number(world["truth"])])
    head = ["world", "personalisation chosen", "aim", "95 % interval holds the true gain", "true gain"]
    note = (
        f"{found['campaigns']:,} campaigns of {found['units']:,} tested units each, three arms, {len(CANDIDATES)} "
        f"candidates, {FOLDS} folds; a binary outcome of 20–30 %. The true gain is that of the picked models and arms "
        "on the units that they were tested on."
    )
    return f"## Decisions of personalization tests\n\n{markdown(head, rows)}\n\n{note}"
