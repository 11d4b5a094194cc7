"""What the section on the policy tree says: its rules, what it is worth, and its SQL."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from spark_uplift.report.figure import PALETTE, arm_colours
from spark_uplift.report.format import Estimate, Scale, count, finite, percent
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.money import Money
from spark_uplift.report.tree_picture import tree_svg
from spark_uplift.report.value import policy_name

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
    unit = Money.per_thousand(inputs.economics, scale)
    title, lead = KINDS.get(kind, (kind.replace("_", " "), ""))
    return {
        "kind": kind,
        "title": title,
        "lead": lead,
        "value": " ".join([_value_sentence(root, scale, unit), *_beside(root, scale, unit)]).strip(),
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
        "picture": Markup(_picture(rows, inputs, title)),
        "unit": unit,
        "caption": _caption(kind),
    }


def _picture(rows: Rows, inputs: ReportInputs, title: str) -> str:
    """The tree as SVG, in the page's colours; those change with the theme."""
    colours = {
        arm: f"var(--p{PALETTE.index(colour)}, {colour})" for arm, colour in arm_colours(inputs).items()
    }
    if inputs.experiment:
        colours[str(inputs.experiment[0]["control"])] = "var(--soft, #59636e)"
    currency = Money.of(inputs.economics).currency
    return tree_svg(rows, colours=colours, currency=currency, label=title)


def _beside(root: Row, scale: Scale, unit: str) -> list[str]:
    """How the tree compares with the best single arm or with the model, where the table says so."""
    found = []
    kept = finite(root.get("kept"))
    if kept is not None:
        found.append(f"It keeps {percent(kept)} of what the forest itself gains.")
    estimate = Estimate.of(root.get("difference"), root.get("difference_lower"), root.get("difference_upper"))
    if estimate.value is not None and root.get("other") is not None:
        verdict = {1: "better", -1: "worse", 0: "not told apart", None: "without an interval"}[estimate.sign]
        text = scale.effect_text(estimate, scale.decimals([estimate]))
        found.append(f"Against “{policy_name(root['other'])}”: {text} {unit}, {verdict}.")
    return found


def _caption(kind: str) -> str:
    what = (
        "Value: what the arm gains over control for these units, less its cost, measured with doubly robust scores "
        "(Dudík et al. 2011) on units that the tree was not grown on; intervals are normal."
    )
    if kind == "surrogate":
        return f"{what} The tree is grown on the model’s predictions, not on outcomes."
    return (
        f"{what} Of all trees of its depth it has the largest sum of such scores on the rows that it was grown on "
        "(Zhou, Athey & Wager 2023)."
    )


def _value(row: Row) -> Estimate:
    return Estimate.of(row["value"], row["lower"], row["upper"])


def _value_sentence(root: Row, scale: Scale, unit: str) -> str:
    estimate = _value(root)
    if estimate.value is None:
        return ""
    text = scale.effect_text(estimate, scale.decimals([estimate]))
    return f"It gains {text} {unit} over control, measured on units that it was not grown on."
