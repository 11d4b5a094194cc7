"""What the section on policy value says: what deciding by the model would have brought, beside the alternatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spark_uplift.report.figure import POLICY_COLOUR, arm_colours
from spark_uplift.report.format import MINUS, MISSING, PER, Estimate, Scale, count, finite, percent, plain
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.money import Money

View = dict[str, Any]

METHODS = {
    "dr": ("doubly robust", "prediction plus the weighted error of prediction (Dudík et al. 2011)"),
    "switch": ("switch", "doubly robust, by prediction alone where the weight is large (Wang et al. 2017)"),
    "snips": ("SNIPS", "Σwy / Σw, w = π(arm) / p(arm): the weighted mean (Swaminathan & Joachims 2015)"),
    "clipped_ips": ("clipped IPS", "Σ min(w, cap)·y / n: bounded weights, at the price of some bias"),
    "ips": ("IPS", "Σwy / n, w = π(arm) / p(arm) (Horvitz & Thompson 1952)"),
    "dm": ("direct method", "mean predicted outcome under the policy: only as good as the predictions"),
    "mean": ("mean", "Σy / n of the logged rows"),
}
"""Methods of policy value, the preferred first: name and formula."""

_ALIASES = {
    "doubly_robust": "dr",
    "direct": "dm",
    "direct_method": "dm",
    "switch_dr": "switch",
    "cips": "clipped_ips",
}
_POLICIES = {
    "model": "this model",
    "tree": "policy tree",
    "surrogate": "surrogate tree",
    "logged": "as logged",
}
_ALL = "all:"
_ONLY = "only:"


def policy_name(policy: Any) -> str:
    """A policy as people call it."""
    text = str(policy)
    if text.startswith(_ALL):
        return f"everybody: {text.removeprefix(_ALL)}"
    if text.startswith(_ONLY):
        return f"{text.removeprefix(_ONLY)} alone"
    return _POLICIES.get(text, text)


def policy_colour(policy: Any, colours: Mapping[str, str]) -> str:
    """The arm's colour for a policy that gives everybody that arm; else the neutral one."""
    return colours.get(str(policy).removeprefix(_ALL).removeprefix(_ONLY), POLICY_COLOUR)


def method_of(row: Row) -> str:
    """The row's method under the one name that this module has for it."""
    name = str(row["method"]).lower()
    return _ALIASES.get(name, name)


def main_method(rows: Rows) -> str:
    """The method that values most policies; of several, the preferred."""
    known = list(METHODS)
    policies: dict[str, set[str]] = {}
    for row in rows:
        policies.setdefault(method_of(row), set()).add(str(row["policy"]))
    return min(
        policies,
        key=lambda name: (-len(policies[name]), known.index(name) if name in known else len(known), name),
    )


def _method_rank(row: Row) -> int:
    known = list(METHODS)
    return known.index(method_of(row)) if method_of(row) in known else len(known)


def main_rows(rows: Rows) -> list[Row]:
    """One row a policy, of the main method where there is one: model, tree, single arms, as logged."""
    if not rows:
        return []
    wanted = main_method([row for row in rows if str(row["policy"]) != "logged"] or rows)
    chosen: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (method_of(row) != wanted, _interval_rank(row))):
        chosen.setdefault(str(row["policy"]), row)
    return sorted(chosen.values(), key=_policy_rank)


def _interval_rank(row: Row) -> int:
    kinds = ("bootstrap", "normal", "empirical_bernstein")
    return kinds.index(row["interval"]) if row["interval"] in kinds else len(kinds)


def _policy_rank(row: Row) -> tuple[int, str]:
    order = ("model", "tree", "surrogate")
    policy = str(row["policy"])
    return (order.index(policy) if policy in order else 9 if policy == "logged" else 5, policy)


def value_view(inputs: ReportInputs, scale: Scale) -> View | None:
    """The sentence on the model's value and a line per policy and method; None without policy values."""
    rows = inputs.policy_value
    if not rows:
        return None
    colours = arm_colours(inputs)
    shown = main_rows(rows)
    decimals = scale.decimals(_estimate(row) for row in rows)
    methods = [name for name in METHODS if any(method_of(row) == name for row in rows)]
    return {
        "lead": _value_lead(shown, scale),
        "rows": _common_count(rows),
        "money": Money.of(inputs.economics).unit if any(finite(row.get("cost")) for row in rows) else "",
        "cut": any(finite(row["clipped_share"]) for row in rows),
        "lines": [
            _value_line(row, scale, decimals, colours)
            for row in sorted(
                rows, key=lambda row: (_policy_rank(row), _method_rank(row), _interval_rank(row))
            )
        ],
        "main": _method_name(shown[0]),
        "methods": [METHODS[name] for name in methods],
        "level": next((percent(row["level"]) for row in rows if finite(row["level"])), ""),
        "messages": sorted({str(row["message"]) for row in rows if row["message"]}),
    }


def _common_count(rows: Rows) -> str:
    """How many rows every line rests on; empty when they differ."""
    counts = {row["n"] for row in rows}
    return count(counts.pop()) if len(counts) == 1 else ""


def _method_name(row: Row) -> str:
    return METHODS.get(method_of(row), (str(row["method"]).replace("_", " "), ""))[0]


def _estimate(row: Row) -> Estimate:
    return Estimate.of(row["value"], row["lower"], row["upper"])


def level_text(estimate: Estimate, scale: Scale, decimals: int) -> str:
    """A value per 1,000 units with its interval, unsigned."""
    if estimate.value is None:
        return MISSING
    text = plain(estimate.value * PER, decimals)
    if estimate.half_width is None:
        return text
    return f"{text} ({scale.effect_interval(estimate, decimals)})"


def _value_lead(rows: Sequence[Row], scale: Scale) -> list[str]:
    """The model beside the best single arm and what was logged, and the difference that is known best."""
    by_policy = {str(row["policy"]): row for row in rows}
    model = by_policy.get("model")
    if model is None:
        return []
    decimals = scale.decimals(_estimate(row) for row in rows)

    def text(row: Row) -> str:
        return level_text(_estimate(row), scale, decimals)

    singles = [
        row for row in rows if str(row["policy"]).startswith(_ALL) and finite(row["value"]) is not None
    ]
    best = max(singles, key=lambda row: row["value"], default=None)
    parts = [
        f"Had this model decided for everybody, there would have been {text(model)} {scale.unit} per 1,000 units"
    ]
    if best is not None:
        parts.append(
            f"with “{str(best['policy']).removeprefix(_ALL)}” for everybody, the best single arm, {text(best)}"
        )
    if "logged" in by_policy:
        parts.append(f"as it was logged, {text(by_policy['logged'])}")
    return ["; ".join(parts) + ".", *_difference(model, scale)]


def _difference(row: Row, scale: Scale) -> list[str]:
    """What the model's policy gains over its baseline, both valued on the same rows."""
    estimate = Estimate.of(row.get("difference"), row.get("difference_lower"), row.get("difference_upper"))
    if estimate.value is None or row.get("baseline") in (None, row["policy"]):
        return []
    verdict = {
        1: "the model is better",
        -1: "the model is worse",
        0: "the interval includes 0, so it is not shown to be better",
        None: "there is no interval",
    }[estimate.sign]
    text = scale.effect_text(estimate, scale.decimals([estimate]))
    return [f"Against “{policy_name(row['baseline'])}”, on the same rows: {text} per 1,000 units; {verdict}."]


def _value_line(row: Row, scale: Scale, decimals: int, colours: Mapping[str, str]) -> View:
    estimate = _estimate(row)
    relative = finite(row["relative"])
    return {
        "policy": policy_name(row["policy"]),
        "colour": policy_colour(row["policy"], colours),
        "method": _method_name(row),
        "value": MISSING if estimate.value is None else plain(estimate.value * PER, decimals),
        "interval": scale.effect_interval(estimate, decimals),
        "cost": _thousand(row.get("cost")),
        "net": _thousand(row.get("net")),
        "kind": str(row["interval"] or MISSING).replace("_", " "),
        "relative": MISSING if relative is None else signed_percent(relative - 1),
        "effective": count(row["effective_sample_size"]),
        "n": count(row["n"]),
        "max_weight": plain(row["max_weight"]),
        "clipped": percent(row["clipped_share"], 1),
    }


def _thousand(value: Any) -> str:
    number = finite(value)
    return MISSING if number is None else Money().amount(number * PER)


def signed_percent(share: float) -> str:
    """A change as percent, with its sign."""
    text = percent(abs(share), 1)
    return f"{'+' if share > 0 else MINUS if share < 0 else ''}{text}"
