"""Charts of value and cost: what each policy is worth, and gain against spend."""

from __future__ import annotations

from spark_uplift.report.charts.curves import SHARE_AXIS
from spark_uplift.report.cost import along, break_even, is_free
from spark_uplift.report.figure import (
    BAND_ALPHA,
    INK,
    PAPER,
    SOFT,
    Figure,
    Spec,
    arm_colours,
    axes_layout,
    axis_range,
    band,
    error_bars,
    label,
    register,
    rounded,
    scaled,
    thin,
)
from spark_uplift.report.format import Estimate, Scale, percent, plain
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.money import Money
from spark_uplift.report.value import level_text, main_rows, policy_colour, policy_name


@register(
    "policy_value",
    "Each dot is the mean outcome that a policy would have had, estimated from the logged rows; the bar is its "
    "interval. The dashed line is the outcome as it was logged. Where bars overlap, the data do not by themselves "
    "tell the policies apart.",
)
def policy_value(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Value per policy by the main method, on one axis."""
    rows = [
        row
        for row in main_rows(inputs.policy_value)
        if Estimate.of(row["value"], None, None).value is not None
    ]
    if not rows:
        return []
    colours = arm_colours(inputs)
    places = list(range(len(rows), 0, -1))
    estimates = [Estimate.of(row["value"], row["lower"], row["upper"]) for row in rows]
    data = [
        _value_dot(row, e, place, policy_colour(row["policy"], colours), scale, scale.decimals(estimates))
        for row, e, place in zip(rows, estimates, places, strict=True)
    ]
    logged = next(
        (e.value for row, e in zip(rows, estimates, strict=True) if row["policy"] == "logged"), None
    )
    if logged is not None:
        data.insert(0, _upright(logged, len(rows)))
    ends = [end for e in estimates for end in (e.value, e.lower, e.upper)]
    layout = axes_layout(
        label(scale.effect_label, 60),
        "",
        70 + 40 * len(rows),
        hovermode="closest",
        yaxis={
            "tickvals": places,
            "ticktext": [label(policy_name(row["policy"])) for row in rows],
            "range": [0.4, len(rows) + 0.6],
            "showgrid": False,
            "zeroline": False,
            "ticks": "",
            "tickfont": {"color": INK, "size": 13},
        },
        xaxis={"range": axis_range(ends, ()), "zeroline": False, "nticks": 10},
    )
    return [Figure("", {"data": data, "layout": layout})]


def _value_dot(row: Row, estimate: Estimate, place: int, colour: str, scale: Scale, decimals: int) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": scaled([estimate.value]),
        "y": [place],
        "marker": {"color": colour, "size": 11},
        "text": [label(f"{policy_name(row['policy'])}: {level_text(estimate, scale, decimals)}", 90)],
        "hoverinfo": "text",
        **error_bars([estimate], "x", colour),
    }


def _upright(value: float, rows: int) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": scaled([value, value]),
        "y": [0.4, rows + 0.6],
        "line": {"color": SOFT, "width": 1.4, "dash": "dash"},
        "hoverinfo": "skip",
    }


@register(
    "cost_curve",
    "Left to right, more is spent, each time on the units and arms with the largest predicted gain for their cost. The "
    "dashed line spends the same on units picked at random. The ring marks the break-even point: up to it, each "
    "further treatment is predicted to bring more than it costs.",
)
def cost_curve(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Gain against spend with its band, one figure per policy on the same axes."""
    policies = sorted({str(row["policy"]) for row in inputs.cost_curve}, key=lambda p: (p != "model", p))
    by_policy = {
        policy: along([row for row in inputs.cost_curve if str(row["policy"]) == policy])
        for policy in policies
    }
    colours = arm_colours(inputs)
    free = is_free(inputs.cost_curve)
    money = Money.of(inputs.economics)
    ends = [end for row in inputs.cost_curve for end in _ends(row)]
    figures = []
    for policy, rows in by_policy.items():
        layout = axes_layout(
            "share of units treated" if free else label(f"spend, {money.unit} per 1,000 units in all", 60),
            label(f"{scale.unit} per 1,000 units in all", 60),
            320,
            hovermode="closest",
            xaxis=SHARE_AXIS if free else {"range": _spend_range(inputs.cost_curve), "nticks": 6},
            yaxis={"range": axis_range(ends), "nticks": 6},
        )
        colour = policy_colour(policy, colours)
        data = _cost_traces(rows, colour, scale, money, free)
        figure = {"data": data, "layout": layout}
        figures.append(Figure(policy_name(policy) if len(policies) > 1 else "", figure, colour))
    return figures


def _ends(row: Row) -> tuple[float | None, ...]:
    gain = Estimate.of(row["gain"], row["lower"], row["upper"])
    return gain.value, gain.lower, gain.upper, Estimate.of(row["baseline"], None, None).value


def _spend_range(rows: Rows) -> list[float]:
    return axis_range([Estimate.of(row["spend"], None, None).value for row in rows])


def _cost_traces(rows: Rows, colour: str, scale: Scale, money: Money, free: bool) -> list[Spec]:
    best = break_even(rows)
    points = thin(rows)
    estimates = [Estimate.of(row["gain"], row["lower"], row["upper"]) for row in points]
    x = _across(points, free)
    decimals = scale.decimals(estimates)
    texts = [_cost_text(row, e, scale, money, decimals) for row, e in zip(points, estimates, strict=True)]
    line = {"type": "scatter", "mode": "lines", "x": x}
    traces: list[Spec] = [
        band(x, estimates, colour + BAND_ALPHA),
        {
            **line,
            "y": scaled(Estimate.of(row["baseline"], None, None).value for row in points),
            "line": {"color": SOFT, "width": 1.4, "dash": "dash"},
            "hoverinfo": "skip",
        },
        {
            **line,
            "y": scaled(e.value for e in estimates),
            "line": {"color": colour, "width": 2.4},
            "text": texts,
            "hoverinfo": "text",
        },
    ]
    if best is not None and (best.get("break_even") or not free):
        gain = Estimate.of(best["gain"], best["lower"], best["upper"])
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": _across([best], free),
                "y": scaled([gain.value]),
                "marker": {"color": PAPER, "size": 12, "line": {"color": INK, "width": 2.4}},
                "text": [f"Break-even. {_cost_text(best, gain, scale, money, decimals)}"],
                "hoverinfo": "text",
            }
        )
    return traces


def _across(rows: Rows, free: bool) -> list[float | None]:
    if free:
        return [rounded(row["fraction"]) for row in rows]
    return scaled(Estimate.of(row["spend"], None, None).value for row in rows)


def _cost_text(row: Row, gain: Estimate, scale: Scale, money: Money, decimals: int) -> str:
    net = Estimate.of(row["net"], None, None).value
    parts = [f"Top {percent(row['fraction'])}: {scale.effect_text(gain, decimals)}"]
    if net is not None:
        parts.append(f"net {plain(net * 1000, sign=True)} {money.unit} per 1,000")
    return label(", ".join(parts), 110)
