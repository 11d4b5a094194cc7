"""Charts of the model itself: feature importances and the distribution of its scores."""

from __future__ import annotations

from spark_uplift.report.figure import (
    ARM_COLOURS,
    INK,
    SOFT,
    Figure,
    Spec,
    arm_colours,
    axes_layout,
    axis_range,
    label,
    register,
    rounded,
    scaled,
)
from spark_uplift.report.format import PER, Scale, count, plain
from spark_uplift.report.inputs import ReportInputs, Rows

MAX_FEATURES = 20

METHODS = {
    "gain": ("By gain", "share of the total gain of all splits"),
    "permutation": ("By permutation", "loss of AUTOC when the feature is shuffled"),
}


@register(
    "importance",
    "How much each feature matters to the model's ranking. It does not say in which direction, nor that "
    "changing the feature would change the effect.",
)
def importance(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Feature importances, one figure per method, the largest on top."""
    methods = sorted({str(row["method"]) for row in inputs.feature_importance})
    figures = []
    for method in methods:
        rows = [
            r for r in inputs.feature_importance if str(r["method"]) == method and r["importance"] is not None
        ]
        rows = sorted(rows, key=lambda row: -row["importance"])[:MAX_FEATURES]
        title, unit = METHODS.get(method, (f"By {method}", "importance"))
        if rows:
            figures.append(Figure(title, _importance_spec(rows, unit)))
    return figures


def _importance_spec(rows: Rows, unit: str) -> Spec:
    y = list(range(len(rows), 0, -1))
    texts = [label(f"{row['feature']}: {plain(row['importance'])}", 90) for row in rows]
    bars: Spec = {
        "type": "bar",
        "orientation": "h",
        "x": [rounded(row["importance"]) for row in rows],
        "y": y,
        "width": 0.62,
        "marker": {"color": ARM_COLOURS[0]},
        "text": texts,
        "textposition": "none",
        "hoverinfo": "text",
    }
    if any(row["std_error"] for row in rows):
        errors = [rounded(row["std_error"]) for row in rows]
        bars["error_x"] = {"type": "data", "array": errors, "color": SOFT, "thickness": 1.4, "width": 3}
    layout = axes_layout(
        unit,
        "",
        70 + 26 * len(rows),
        hovermode="closest",
        xaxis={"rangemode": "tozero", "zeroline": True, "nticks": 5},
        yaxis={
            "tickvals": y,
            "ticktext": [label(row["feature"]) for row in rows],
            "range": [0.4, len(rows) + 0.6],
            "showgrid": False,
            "zeroline": False,
            "tickfont": {"color": INK, "size": 13},
        },
    )
    return {"data": [bars], "layout": layout}


@register(
    "scores",
    "How many units have which predicted uplift. A spread that is wide beside the intervals above means "
    "that the model tells units apart; everything on one spot means that it sees no difference between "
    "them.",
)
def scores(inputs: ReportInputs, scale: Scale) -> list[Figure]:
    """Distribution of predicted uplift, one figure per arm on a common horizontal axis."""
    colours = arm_colours(inputs)
    bounds = [bound for row in inputs.score_histogram for bound in (row["lower"], row["upper"])]
    figures = []
    for arm, colour in colours.items():
        rows = [row for row in inputs.score_histogram if row["arm"] == arm]
        if not rows:
            continue
        layout = axes_layout(
            label(f"predicted {scale.effect_label}", 60),
            "units",
            250,
            bargap=0,
            xaxis={"range": axis_range(bounds), "showgrid": False, "zeroline": True, "nticks": 6},
            yaxis={"nticks": 5},
        )
        figure = {"data": [_score_bars(rows, colour)], "layout": layout}
        figures.append(Figure(arm if len(colours) > 1 else "", figure, colour))
    return figures


def _score_bars(rows: Rows, colour: str) -> Spec:
    texts = [
        f"{plain(row['lower'] * PER, sign=True)} to {plain(row['upper'] * PER, sign=True)}: "
        f"{count(row['count'])} units"
        for row in rows
    ]
    return {
        "type": "bar",
        "x": scaled((row["lower"] + row["upper"]) / 2 for row in rows),
        "width": scaled(row["upper"] - row["lower"] for row in rows),
        "y": [row["count"] for row in rows],
        "marker": {"color": colour, "line": {"width": 0}},
        "text": texts,
        "textposition": "none",
        "hoverinfo": "text",
    }
