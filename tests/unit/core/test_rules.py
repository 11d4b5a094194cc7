"""Rules in words, held against the walk that scoring takes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spark_uplift.core import prediction, rules
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.tree import Tree
from tests.oracles.prediction import leaf_of
from tests.unit.core.data import Rows, fit, rows_of

RARE = ("ivy", "jade")  # too few rows for a code of their own
LEVELS = ("ash", "birch", "cedar", "other", *RARE)


def columns(n: int, seed: int, missing: float = 0.12) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 8, n).astype(float)
    date = 20_260_000.0 + rng.integers(0, 300, n)
    x[rng.random(n) < missing] = np.nan
    town = rng.choice(LEVELS, n, p=(0.3, 0.3, 0.2, 0.19, 0.006, 0.004)).tolist()
    town = [None if gone else t for t, gone in zip(town, rng.random(n) < missing, strict=True)]
    return {"x": x, "town": town, "date": date}


def experiment(n: int, seed: int, missing: float = 0.12) -> tuple[dict[str, Any], Rows]:
    rng = np.random.default_rng(seed + 1000)
    given = columns(n, seed, missing)
    arms = rng.integers(0, 3, n)
    effect = np.where(np.nan_to_num(given["x"], nan=6.0) > 3, 1.0, -1.0)
    effect += np.array([1.5 if t in ("ash", "other", None) else -1.0 for t in given["town"]])
    y = np.rint(rng.normal(size=n) + arms * effect)
    return given, rows_of(given, arms, y, max_bins=16)


def number_holds(name: str, text: str, value: float) -> bool:
    if value != value:
        return text.endswith(" or missing") or text == f"{name} is missing"
    text = text.removesuffix(" or missing")
    if text in (f"{name} is given", f"{name} is missing"):
        return text.endswith("given")
    found = re.fullmatch(rf"(?:(\S+) < )?{name}(?: (<=|>) (\S+))?", text)
    assert found, text
    low, sign, bound = found.groups()
    above = low is None or value > float(low)
    return above and (sign is None or (value <= float(bound) if sign == "<=" else value > float(bound)))


def level_holds(text: str, value: str | None, bins: FeatureBins) -> bool:
    if value is None:
        return text.endswith(" or missing") or text == "town is missing"
    text = text.removesuffix(" or missing")
    if text in ("town is given", "town is missing"):
        return text.endswith("given")
    found = re.fullmatch(r"town (?:is (\w[\w ]*)|in \((.+)\))", text)
    assert found, text
    listed = [found[1]] if found[1] else found[2].split(", ")
    assert len(set(listed)) == len(listed), text
    return (value if value in (bins.levels or ()) else "any other") in listed


def holds(rule: str, row: dict[str, Any], features: tuple[FeatureBins, ...]) -> bool:
    """Read a rule and apply it to a row: slow, and knowing nothing of codes."""
    if rule == "everybody":
        return True
    for part in rule.split(" and "):
        name = next(name for name in row if re.search(rf"\b{name}\b", part))
        good = (
            level_holds(part, row[name], features[1])
            if name == "town"
            else number_holds(name, part, row[name])
        )
        if not good:
            return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_a_row_fulfils_the_rule_of_its_leaf_and_no_other(seed: int) -> None:
    given, rows = experiment(1500, seed)
    forest = fit(rows, num_trees=2, max_depth=5, min_node=25, min_arm=4, bootstrap=True)
    assert forest.features[1].pooled
    for number, tree in enumerate(forest.trees):
        paths = rules.leaf_paths(tree)
        assert len(paths) > 6
        texts = {
            leaf: rules.path_rule(forest.features, tree, path, set(given)) for leaf, path in paths.items()
        }
        assert len(set(texts.values())) == len(texts)
        at = prediction.leaves(forest.packed, rows.codes, number)
        for i in range(250):
            row = {name: values[i] for name, values in given.items()}
            assert [leaf for leaf, text in texts.items() if holds(text, row, forest.features)] == [at[i]]


def test_a_feature_is_named_once_in_a_rule() -> None:
    given, rows = experiment(1500, 9)
    forest = fit(rows, max_depth=6, min_node=20, min_arm=4)
    (tree,) = forest.trees
    for path in rules.leaf_paths(tree).values():
        rule = rules.path_rule(forest.features, tree, path, set(given))
        assert all(len(re.findall(rf"\b{name}\b", rule)) <= 1 for name in given), rule


def test_paths_lead_to_the_leaves() -> None:
    _, rows = experiment(800, 3)
    tree = fit(rows, max_depth=4).trees[0]
    paths = rules.leaf_paths(tree)
    assert sorted(paths) == np.flatnonzero(tree.is_leaf).tolist()
    for leaf, path in paths.items():
        node = 0
        for at, left in path:
            assert at == node
            node = int(tree.left_child[node]) + (0 if left else 1)
        assert node == leaf
    assert leaf_of(tree, rows.codes[0]) in paths


def test_missing_is_not_spoken_of_where_training_saw_none() -> None:
    _, rows = experiment(1200, 5, missing=0.0)
    forest = fit(rows, max_depth=5, min_node=25)
    tree = forest.trees[0]
    texts = [rules.path_rule(forest.features, tree, path, ()) for path in rules.leaf_paths(tree).values()]
    assert not any("missing" in text or "given" in text for text in texts)


# One node of a tree: codes up to `threshold` (or those of `codes`) go left.
def stump(threshold: int, missing_left: bool, codes: tuple[int, ...] = ()) -> Tree:
    mask = np.zeros((3, 4), np.uint64)
    for code in (*codes, *([0] if missing_left else [])):
        mask[0, code // 64] |= np.uint64(1) << np.uint64(code % 64)
    return Tree(
        heap=np.array([1, 2, 3]),
        feature=np.array([0, -1, -1], np.int32),
        threshold=np.array([threshold, 0, 0], np.int16),
        missing_left=np.array([missing_left, False, False]),
        mask=mask,
        left_child=np.array([1, -1, -1]),
        gain=np.zeros(3),
        stats=np.zeros((3, 2, 5), np.int64),
        effect=np.zeros((3, 1)),
    )


AGE = FeatureBins("age", edges=(20.5, 40.0, 64.25))
CITY = FeatureBins("city", levels=("bath", "oslo", "rome"))


@pytest.mark.parametrize(
    ("threshold", "missing_left", "left", "right"),
    [
        (2, False, "age <= 40", "age > 40 or missing"),
        (2, True, "age <= 40 or missing", "age > 40"),
        (3, False, "age <= 64.25", "age > 64.25 or missing"),
        (4, False, "age is given", "age is missing"),
    ],
)
def test_numbers_in_words(threshold: int, missing_left: bool, left: str, right: str) -> None:
    tree = stump(threshold, missing_left)
    assert rules.condition(AGE, tree, 0, True, True) == left
    assert rules.condition(AGE, tree, 0, False, True) == right
    if threshold < 4:
        assert rules.condition(AGE, tree, 0, True, False) == left.removesuffix(" or missing")


def test_categories_in_words() -> None:
    tree = stump(-1, True, codes=(1, 3))
    assert rules.condition(CITY, tree, 0, True, True) == "city in (bath, rome) or missing"
    assert rules.condition(CITY, tree, 0, False, True) == "city is oslo"
    assert rules.left_levels(CITY, tree, 0) == ["bath", "rome"]
    only_missing = stump(-1, True)
    assert rules.condition(CITY, only_missing, 0, True, True) == "city is missing"
    assert rules.condition(CITY, only_missing, 0, False, True) == "city is given"


def test_a_level_called_other_and_the_pooled_ones_are_told_apart() -> None:
    both = FeatureBins("city", levels=("bath", "other"), pooled=True)
    assert rules.left_levels(both, stump(-1, False, codes=(2, 3)), 0) == ["other", "any other"]
    pooled = replace(both, levels=("bath", "oslo"))
    assert rules.left_levels(pooled, stump(-1, False, codes=(3,)), 0) == ["other"]


@pytest.mark.parametrize(
    ("edge", "shown"),
    [(0.333333333, "0.333333"), (20260131.5, "20260131.5"), (-5e9, "-5000000000"), (1e-7, "1e-07")],
)
def test_numbers_are_shown_readably(edge: float, shown: str) -> None:
    bins = FeatureBins("day", edges=(edge,))
    assert rules.condition(bins, stump(1, False), 0, True, False) == f"day <= {shown}"


def test_a_tree_that_is_a_root_is_everybody() -> None:
    root = stump(1, False)
    root = replace(root, left_child=np.array([-1, -1, -1]))
    assert rules.path_rule((AGE,), root, [], ()) == "everybody"
    assert rules.threshold_value(AGE, 4) is None
    assert rules.threshold_value(AGE, 3) == 64.25
