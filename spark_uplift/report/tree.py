"""What the section on the policy tree says: its rules, what it is worth, and its SQL."""

from __future__ import annotations

from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.format import Estimate, Scale, count, finite, percent
from spark_uplift.report.inputs import ReportInputs, Row, Rows

View = dict[str, Any]

KINDS = {
    "policy": (
        "Policy tree",
        "A few questions that decide which arm a unit gets: anybody can follow them, and a database can apply them.",
    ),
    "surrogate": (
        "The forest in short",
        "A small tree that imitates the forest’s decisions: what the forest does, in a few rules.",
    ),
}
_ORDER = ("policy", "surrogate")


def trees_view(inputs: ReportInputs, scale: Scale) -> list[View]:
    """One view a kind of tree: lead, rules of its leaves, SQL; empty without trees."""
    kinds = sorted(
        {str(row["kind"]) for row in inputs.policy_trees},
        key=lambda kind: (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), kind),
    )
    return [
        _tree_view(kind, [row for row in inputs.policy_trees if str(row["kind"]) == kind], inputs, scale)
        for kind in kinds
    ]


def _tree_view(kind: str, rows: Rows, inputs: ReportInputs, scale: Scale) -> View:
    colours = arm_colours(inputs)
    rows = sorted(rows, key=lambda row: row["node"])
    leaves = [row for row in rows if row["arm"] is not None]
    root = rows[0]
    decimals = scale.decimals(_value(row) for row in leaves)
    title, lead = KINDS.get(kind, (kind.replace("_", " "), ""))
    return {
        "kind": kind,
        "title": title,
        "lead": lead,
        "value": _value_sentence(root, scale),
        "leaves": [
            {
                "rule": row["rule"] or "all units",
                "arm": row["arm"],
                "colour": colours.get(str(row["arm"])),
                "n": count(row["n"]),
                "share": percent(row["share"], 1),
                "value": scale.effect(_value(row).value, decimals),
                "interval": scale.effect_interval(_value(row), decimals),
            }
            for row in sorted(leaves, key=lambda row: -(finite(row["share"]) or 0.0))
        ],
        "sql": root["sql"] or "",
        "picture": None,
        "unit": scale.effect_label,
        "caption": _caption(kind),
    }


def _caption(kind: str) -> str:
    if kind == "surrogate":
        return "Value: mean outcome under the leaf’s arm, against control, on rows that the tree was not grown on."
    return (
        "Value: mean doubly robust score (Dudík et al. 2011) of the leaf’s arm, less its cost, on rows that the tree "
        "was not grown on. The tree maximises the sum of these scores over all trees of its depth "
        "(Athey & Wager 2021)."
    )


def _value(row: Row) -> Estimate:
    return Estimate.of(row["value"], row["lower"], row["upper"])


def _value_sentence(root: Row, scale: Scale) -> str:
    estimate = _value(root)
    if estimate.value is None:
        return ""
    text = scale.effect_text(estimate, scale.decimals([estimate]))
    return f"Value of the whole tree on rows that it was not grown on: {text} {scale.effect_label}."
