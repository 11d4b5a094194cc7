"""Report inputs with everything that a run can have: a second model, values, costs, a tree, decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spark_uplift.report import ReportInputs
from tests.unit.report import samples

OTHER = "causal-forest-9f31aa20bc11"
ECONOMICS = {"value": 40.0, "costs": {"free care": 30.0, "25 % coinsurance": 12.0}, "currency": "EUR"}
SQL = """CASE
  WHEN `disea` <= 6.9 AND `hlthg` > 0.5 THEN 'control'
  WHEN `disea` <= 6.9 THEN '50 % coinsurance'
  WHEN `physlm` > 0.12 OR `physlm` IS NULL THEN 'free care'
  ELSE '25 % coinsurance'
END"""
TABLES = (
    "model_comparison",
    "evaluation_checks",
    "policy_value",
    "cost_curve",
    "policy_trees",
    "decision_summary",
    "decision_constraints",
)
ARMS = ("free care", "25 % coinsurance", "50 % coinsurance")


def comparison(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The model beside one whose curves lie a fifth lower."""
    rows = []
    for arm in ("*", *ARMS):
        for metric, style, value, half in (("autoc", "grf", 0.30, 0.08), ("qini", "grf", 0.12, 0.05)):
            value, half = (value, half) if arm == "*" else (value * 0.7, half * 1.9)
            rows.append(
                {
                    **samples.RUN,
                    "other_model": OTHER,
                    "arm": arm,
                    "metric": metric,
                    "style": style,
                    "value": value,
                    "other_value": value * 0.6,
                    "difference": value * 0.4,
                    "std_error": half / samples.Z,
                    "lower": value * 0.4 - half,
                    "upper": value * 0.4 + half,
                    "p_value": 0.0004 if arm == "*" else 0.21,
                    "level": 0.95,
                    "n": 24_000,
                    "bootstrap": 200,
                }
            )
    return rows


def other_curves(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Curves of the other model: the same, nearer to treatment at random."""
    rows = []
    for row in inputs.evaluation_curves:
        shift = 0.45 * (row["value"] - row["baseline"])
        moved = {name: row[name] - shift for name in ("value", "lower", "upper")}
        rows.append({**row, **moved, "model_id": OTHER})
    return rows


def calibration_metrics() -> list[dict[str, Any]]:
    """Slope, intercept, R² and the test of heterogeneity, by arm."""
    rows = []
    slopes = {"*": (0.97, 0.12), ARMS[0]: (0.93, 0.15), ARMS[1]: (0.66, 0.24), ARMS[2]: (0.35, 0.5)}
    for arm, (slope, half) in slopes.items():
        for metric, value, width, formula in (
            ("calibration_slope", slope, half, "b of the best linear projection E[G | s] = a + b*s"),
            (
                "calibration_r2",
                0.8 * slope,
                half,
                "1 - sum(m*(effect - predicted)^2) / sum(m*(effect - mean)^2)",
            ),
            ("heterogeneity", 0.4 * slope, half / 2, "b times the standard deviation of s"),
        ):
            rows.append(
                {
                    **samples.RUN,
                    "arm": arm,
                    "metric": metric,
                    "style": "grf",
                    "value": value,
                    "std_error": width / samples.Z,
                    "lower": value - width,
                    "upper": value + width,
                    "level": 0.95,
                    "n": 24_000,
                    "bootstrap": 200,
                    "exact": True,
                    "formula": formula,
                }
            )
    return rows


def evaluation_checks() -> list[dict[str, Any]]:
    """One warning among checks that went well."""
    names = ("arm", "check", "status", "value", "threshold", "unit", "message", "hint")
    rows = [
        ("free care", "overlap", "pass", 0.31, 0.01, "share", "The least propensity of an arm is 31 %.", ""),
        (
            "50 % coinsurance",
            "effective_sample_size",
            "warn",
            612.0,
            1000.0,
            "rows",
            "The weighted rows are worth 612 equal ones.",
            "Intervals are wide; evaluate on more rows before deciding between arms.",
        ),
        ("*", "ties", "pass", 0.021, 0.2, "share", "2.1 % of the rows share their score with others.", ""),
        ("*", "top_decile_mass", "pass", 0.27, 0.9, "share", "The top decile holds 27 % of the score.", ""),
    ]
    return [{**samples.RUN, **dict(zip(names, row, strict=True))} for row in rows]


def policy_values() -> list[dict[str, Any]]:
    """Model, tree, each arm for all, and as logged; by two methods."""
    rows = []
    values = {
        "model": (3.31, 0.09),
        "tree": (3.24, 0.09),
        "all:free care": (3.15, 0.07),
        "all:25 % coinsurance": (2.71, 0.08),
        "all:50 % coinsurance": (2.52, 0.08),
        "all:control": (2.2, 0.06),
    }
    for policy, (value, half) in values.items():
        for method, kind, wider in (
            ("dr", "normal", 1.0),
            ("snips", "normal", 1.2),
            ("snips", "empirical_bernstein", 2.5),
        ):
            rows.append(
                {
                    **samples.RUN,
                    "policy": policy,
                    "method": method,
                    "value": value if method == "dr" else value * 1.004,
                    "std_error": half / samples.Z,
                    "lower": value - half * wider,
                    "upper": value + half * wider,
                    "level": 0.95,
                    "interval": kind,
                    "relative": value / 2.61,
                    "n": 24_000,
                    "effective_sample_size": 5600.0 if policy == "model" else 5700.0,
                    "max_weight": 4.35,
                    "clipped_share": 0.0,
                    "message": None,
                    "baseline": "all:free care",
                    "difference": value - 3.15,
                    "difference_lower": value - 3.15 - half * 0.7,
                    "difference_upper": value - 3.15 + half * 0.7,
                }
            )
    logged = {**rows[0], "policy": "logged", "method": "mean", "value": 2.61, "lower": 2.58, "upper": 2.64}
    return [*rows, {**logged, "relative": 1.0, "effective_sample_size": 24_000.0, "max_weight": 1.0}]


def cost_curve(points: int = 60, cost: float = 25.0) -> list[dict[str, Any]]:
    """Gain that flattens against spend, for the model and for one arm alone."""
    rows = []
    for policy, height in (("model", 1.1), ("only:free care", 0.95)):
        for i in range(points + 1):
            share = i / points
            gain = height * (1 - (1 - share) ** 1.8)
            marginal = height * 1.8 * (1 - share) ** 0.8 / cost
            half = 0.12 * share**0.5
            rows.append(
                {
                    **samples.RUN,
                    "policy": policy,
                    "fraction": share,
                    "spend": cost * share,
                    "gain": gain,
                    "lower": gain - half,
                    "upper": gain + half,
                    "net": 40.0 * gain - cost * share,
                    "marginal": marginal,
                    "baseline": height * share * 0.9,
                    "point": i,
                    "break_even": marginal * 40
                    >= 1
                    > height * 1.8 * max(0.0, 1 - (i + 1) / points) ** 0.8 / cost * 40,
                }
            )
    return rows


def policy_trees() -> list[dict[str, Any]]:
    """A tree of depth two."""
    names = ("node", "depth", "feature", "rule", "threshold", "arm", "n", "share", "value", "lower", "upper")
    rows = [
        (1, 0, "disea", "", 6.9, None, 24_000, 1.0, 1.04, 0.95, 1.13),
        (2, 1, "hlthg", "disea <= 6.9", 0.5, None, 7200, 0.3, 0.21, 0.1, 0.32),
        (3, 1, "physlm", "disea > 6.9", 0.12, None, 16_800, 0.7, 1.4, 1.28, 1.52),
        (4, 2, None, "disea <= 6.9 and hlthg <= 0.5", None, ARMS[2], 4100, 0.17, 0.36, 0.2, 0.52),
        (5, 2, None, "disea <= 6.9 and hlthg > 0.5", None, "control", 3100, 0.13, 0.0, -0.2, 0.2),
        (6, 2, None, "disea > 6.9 and physlm <= 0.12", None, ARMS[1], 6300, 0.26, 0.8, 0.6, 1.0),
        (7, 2, None, "disea > 6.9 and physlm > 0.12", None, ARMS[0], 10_500, 0.44, 1.76, 1.6, 1.92),
    ]
    more = {**samples.RUN, "kind": "policy", "left_levels": None, "missing_left": False}
    asked = {1: "disea <= 6.9", 2: "hlthg <= 0.5", 3: "physlm <= 0.12"}
    return [
        {
            **more,
            **dict(zip(names, row, strict=True)),
            "sql": SQL if row[0] == 1 else None,
            "condition": asked.get(row[0]),
        }
        for row in rows
    ]


def decisions() -> dict[str, list[dict[str, Any]]]:
    """A summary per arm, a budget that binds, a capacity that does not, and reasons."""
    names = ("arm", "n", "share", "cost", "gain", "lower", "upper", "net")
    summary = [
        ("control", 31_210, 0.3121, 0.0, 0.0, 0.0, 0.0, 0.0),
        ("free care", 24_000, 0.24, 720_000.0, 1_690_000.0, 1_540_000.0, 1_840_000.0, 970_000.0),
        ("25 % coinsurance", 20_000, 0.2, 240_000.0, 640_000.0, 512_000.0, 768_000.0, 400_000.0),
        ("50 % coinsurance", 24_790, 0.2479, 0.0, 357_000.0, 201_000.0, 513_000.0, 357_000.0),
        ("*", 100_000, 1.0, 960_000.0, 2_687_000.0, 2_410_000.0, 2_964_000.0, 1_727_000.0),
    ]
    limits = ("constraint", "kind", "limit", "used", "price", "binding", "message")
    constraints = [
        ("budget", "budget", 960_000.0, 960_000.0, 0.62, True, "One more EUR would bring 1.62 EUR."),
        ("capacity:25 % coinsurance", "capacity", 20_000.0, 20_000.0, 7.4, True, ""),
        ("capacity:free care", "capacity", 40_000.0, 24_000.0, 0.0, False, ""),
    ]
    reasons = [
        ("free care", "best net value", 22_500),
        ("50 % coinsurance", "budget", 18_000),
        ("control", "no gain", 29_000),
        ("control", "excluded", 2210),
        ("25 % coinsurance", "exploration", 1000),
    ]
    return {
        "decision_summary": [
            {**samples.RUN, "list_id": "l1", **dict(zip(names, r, strict=True))} for r in summary
        ],
        "decision_constraints": [
            {**samples.RUN, "list_id": "l1", **dict(zip(limits, r, strict=True))} for r in constraints
        ],
        "decision_reasons": [dict(zip(("arm", "reason", "count"), r, strict=True)) for r in reasons],
    }


def everything(**options: Any) -> ReportInputs:
    """Three arms and every section."""
    inputs = samples.visits(**options)
    return replace(
        inputs,
        evaluation_metrics=[*inputs.evaluation_metrics, *calibration_metrics()],
        evaluation_curves=[*inputs.evaluation_curves, *other_curves(inputs)],
        model_comparison=comparison(inputs),
        evaluation_checks=evaluation_checks(),
        policy_value=policy_values(),
        cost_curve=cost_curve(),
        policy_trees=policy_trees(),
        economics=ECONOMICS,
        **decisions(),
    )
