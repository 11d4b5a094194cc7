"""The SQL of a policy tree gives every row the arm that the training's own codes give it."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_uplift.core.binning import FeatureBins, weighted_edges
from spark_uplift.policy import tree_sql
from spark_uplift.policy.tree_model import from_records
from tests.spark.policy_trees import by_codes, random_tree

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ARMS = ("none", 'it\'s "5" \\ ${spark.app.name}', "späť\n\t😀", "mail `x` -- /* ; %")
NAMES = ("a.b", "we`ird", "quo'te", 'dou"ble', "back\\slash", "Sp ace", "select", "--")
KINDS = ("double", "float", "bigint", "int", "decimal(20,6)", "string", "boolean", "smallint")
LEVELS = (
    "",
    " ",
    "a",
    "A",
    "null",
    "NaN",
    "it's",
    '"',
    "\\",
    "\\'",
    "${env:PATH}",
    "$",
    "a\nb",
    "\x00",
    "\x7f",
    "日本",
    "%",
    "true",
)
EDGES = (-0.0, 5e-324, 0.1, 1.0, 1.0 + 2**-52, 2.0**53, 1e20, 1.7976931348623157e308, -1e-300, 2.5)


def frame(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    ddl = ", ".join(f"`{name.replace('`', '``')}` {kind}" for name, kind in zip(NAMES, KINDS, strict=True))
    return spark.createDataFrame(rows, ddl)


def row(number: float | None, text: str | None) -> tuple[Any, ...]:
    """Return a row with a number as every type that holds it, and a text."""
    finite = number is not None and math.isfinite(number)
    whole = int(number) if finite and abs(number) < 2**62 else None
    small = None if whole is None or abs(whole) > 1e13 else Decimal(repr(round(number, 6)))
    return (
        number,
        number if number is None or not finite or abs(number) < 3e38 else None,
        whole,
        None if whole is None or abs(whole) >= 2**31 else whole,
        small,
        text,
        None if text is None else len(text) % 2 == 0,
        None if whole is None or abs(whole) >= 2**15 else whole,
    )


def bins_of(rng: np.random.Generator, values: list[float], levels: list[str]) -> tuple[FeatureBins, ...]:
    found = []
    for name, kind in zip(NAMES, KINDS, strict=True):
        if kind == "string":
            known = sorted({level for level in levels if rng.random() < 0.7})
            found.append(FeatureBins(name, levels=tuple(known), pooled=bool(rng.random() < 0.5)))
        elif kind == "boolean":
            found.append(FeatureBins(name, levels=("false", "true")))
        else:
            finite = np.array([value for value in values if math.isfinite(value)] + [0.0])
            edges = weighted_edges(finite, None, int(rng.integers(2, 30)))
            exact = sorted(set(rng.choice(finite, 3).tolist()))
            found.append(FeatureBins(name, edges=tuple(exact) if rng.random() < 0.5 else edges))
    return tuple(found)


def same(
    spark: SparkSession, df: DataFrame, seed: int, values: list[float], levels: list[str], count: int
) -> None:
    rng = np.random.default_rng(seed)
    trees = [random_tree(rng, bins_of(rng, values, levels), ARMS) for _ in range(count)]
    df.createOrReplaceTempView("nasty")
    # Trees of one part of a query each; a query of all would be compiled for long.
    texts = [f"{tree_sql.sql(tree)} AS t{i}" for i, tree in enumerate(trees)]
    found = spark.sql(f"SELECT {', '.join(texts)} FROM nasty").toArrow()
    for i, tree in enumerate(trees):
        assert found.column(i).to_pylist() == [ARMS[code] for code in by_codes(tree, df)], tree_sql.sql(tree)


def edge_rows() -> tuple[list[float], list[tuple[Any, ...]]]:
    values = [
        side
        for edge in EDGES
        for side in (edge, math.nextafter(edge, math.inf), math.nextafter(edge, -math.inf))
    ]
    values = [value for value in values if math.isfinite(value)] + [0.0, -1.0, 3.0, 32767.0]
    every: list[float | None] = [*values, None, math.nan, math.inf, -math.inf]
    texts: list[str | None] = [*LEVELS, None, "never seen"]
    return values, [
        row(every[i % len(every)], texts[i % len(texts)]) for i in range(math.lcm(len(every), 2) * 2)
    ]


def test_every_edge_quote_and_missing_value(spark: SparkSession) -> None:
    values, rows = edge_rows()
    same(spark, frame(spark, rows), 1, values, list(LEVELS), 40)


@pytest.mark.parametrize(
    "setting",
    [
        "spark.sql.parser.escapedStringLiterals",
        "spark.sql.ansi.enabled",
        "spark.sql.ansi.doubleQuotedIdentifiers",
    ],
)
def test_settings_of_the_parser_change_nothing(spark: SparkSession, setting: str) -> None:
    values, rows = edge_rows()
    before = spark.conf.get(setting)
    spark.conf.set(setting, "false" if before == "true" else "true")
    try:
        same(spark, frame(spark, rows), 2, values, list(LEVELS), 12)
    finally:
        spark.conf.set(setting, before)


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(
    numbers=st.lists(
        st.one_of(st.none(), st.floats(), st.integers(-(2**60), 2**60).map(float)), min_size=1, max_size=40
    ),
    texts=st.lists(
        st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
        min_size=1,
        max_size=40,
    ),
    seed=st.integers(0, 2**31),
)
def test_any_values_at_all(
    spark: SparkSession, numbers: list[float | None], texts: list[str | None], seed: int
) -> None:
    rows = [
        row(numbers[i % len(numbers)], texts[i % len(texts)]) for i in range(max(len(numbers), len(texts)))
    ]
    values = [x for x in numbers if x is not None and math.isfinite(x)]
    same(spark, frame(spark, rows), seed, values, [x for x in texts if x is not None], 8)


def test_a_tree_without_a_split_is_the_arm(spark: SparkSession) -> None:
    for arm, name in enumerate(ARMS):
        record = {"node": 1, "feature": -1, "left": [], "action": arm, "rows": 1, "gain": 0.0}
        tree = from_records((), ARMS, [record], {})
        assert "CASE" not in tree_sql.sql(tree)
        assert spark.sql(f"SELECT {tree_sql.sql(tree)}").head()[0] == name


def test_the_text_reads_well() -> None:
    features = (
        FeatureBins("recency", edges=(3.5, 6.0)),
        FeatureBins("channel", levels=("Phone", "Web"), pooled=True),
    )
    records = [
        {"node": 1, "feature": 0, "left": [0, 1], "action": 0, "rows": 9, "gain": 0.0},
        {"node": 2, "feature": 1, "left": [2], "action": 0, "rows": 6, "gain": 0.0},
        {"node": 3, "feature": -1, "left": [], "action": 0, "rows": 3, "gain": 0.0},
        {"node": 4, "feature": -1, "left": [], "action": 1, "rows": 4, "gain": 0.0},
        {"node": 5, "feature": -1, "left": [], "action": 2, "rows": 2, "gain": 0.0},
    ]
    tree = from_records(features, ("none", "mail", "call"), records, {"missing": ["recency"]})
    assert tree_sql.sql(tree) == (
        "CASE\n"
        "  WHEN (`recency` <= 3.5D OR `recency` IS NULL OR isnan(`recency`)) AND CAST(`channel` AS STRING) IN ('Web') "
        "THEN 'mail'\n"
        "  WHEN (`recency` <= 3.5D OR `recency` IS NULL OR isnan(`recency`)) THEN 'call'\n"
        "  ELSE 'none'\n"
        "END"
    )
    assert tree.rules == [
        "recency <= 3.5 or missing and channel is Web: mail (44.4 % of units)",
        "recency <= 3.5 or missing and channel in (Phone, other): call (22.2 % of units)",
        "recency > 3.5: none (33.3 % of units)",
    ]
