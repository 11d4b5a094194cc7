"""Gains of a send: against rows, without bias, and with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.policy.gain import Cell, Gain, compare

ARMS = np.array(["none", "mail", "call"])
GROUPS = np.array(["no_send", "single", "personalised"])


def arm_of(group: str, recommended: str) -> str:
    return {"no_send": "none", "single": "mail", "personalised": recommended}[group]


def sent(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Group, recommendation and outcome of each unit; and the true gain of personalising over mail for all."""
    rng = np.random.default_rng(seed)
    advice, group = rng.choice(ARMS, n, p=[0.1, 0.6, 0.3]), rng.choice(GROUPS, n, p=[0.2, 0.3, 0.5])
    given = np.array([arm_of(g, r) for g, r in zip(group, advice, strict=True)])
    base = rng.normal(2.0, 1.0, n)
    effect = {"none": 0.0, "mail": 0.2, "call": 0.5}
    y = base + np.array([effect[a] for a in given]) + rng.normal(0, 1, n)
    return group, advice, y, 0.1 * (0.0 - 0.2) + 0.3 * (0.5 - 0.2)


def cells(group: np.ndarray, advice: np.ndarray, y: np.ndarray) -> list[Cell]:
    return [
        Cell(g, r, float(here.sum()), float(y[here].sum()), float((y[here] ** 2).sum()))
        for g in GROUPS
        for r in ARMS
        if (here := (group == g) & (advice == r)).any()
    ]


def test_against_rows() -> None:
    group, advice, y, _ = sent(1)
    found = compare(cells(group, advice, y), "personalised", "single", arm_of, 0.95)
    differs = advice != "mail"
    ours, theirs = (y[differs & (group == g)] for g in ("personalised", "single"))
    share = differs.mean()
    error = np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
    assert found.value == pytest.approx(share * (ours.mean() - theirs.mean()))
    assert found.upper - found.lower == pytest.approx(2 * 1.959964 * share * error, rel=1e-6)
    assert (found.n, found.n_against) == ((group == "personalised").sum(), (group == "single").sum())
    assert found.share_compared == pytest.approx(share)


def test_money() -> None:
    group, advice, y, _ = sent(2)
    costs = {"call": 0.7, "mail": 0.1}
    given = np.array([arm_of(g, r) for g, r in zip(group, advice, strict=True)])
    net = 3.0 * y - np.array([costs.get(a, 0.0) for a in given])
    plain = compare(cells(group, advice, net), "personalised", "no_send", arm_of, 0.9)
    found = compare(cells(group, advice, y), "personalised", "no_send", arm_of, 0.9, worth=3.0, costs=costs)
    assert found.value == pytest.approx(plain.value)
    assert found.lower == pytest.approx(plain.lower)


def test_intervals_hold_the_truth() -> None:
    covered, values = 0, []
    for seed in range(400):
        group, advice, y, truth = sent(seed, 800)
        found = compare(cells(group, advice, y), "personalised", "single", arm_of, 0.95)
        covered += found.lower <= truth <= found.upper
        values.append(found.value)
    assert 0.92 <= covered / 400 <= 0.98
    assert np.mean(values) == pytest.approx(truth, abs=0.005)


def test_it_is_narrower_than_the_plain_difference() -> None:
    group, advice, y, _ = sent(3)
    found = compare(cells(group, advice, y), "personalised", "single", arm_of, 0.95)
    plain = np.sqrt(sum(y[group == g].var(ddof=1) / (group == g).sum() for g in ("personalised", "single")))
    assert found.upper - found.lower < 0.8 * 2 * 1.96 * plain


def test_nothing_differs_and_too_few() -> None:
    same = [Cell("personalised", "mail", 50, 10, 10), Cell("single", "mail", 50, 12, 12)]
    assert compare(same, "personalised", "single", arm_of, 0.95) == Gain(50, 50, 0.0, 0.0, 0.0, 0.0)
    few = [Cell("personalised", "call", 1, 1, 1), Cell("single", "call", 1, 0, 0)]
    found = compare(few, "personalised", "single", arm_of, 0.95)
    assert found.value == 1.0
    assert np.isnan(found.lower)
