"""Realistic report inputs from simulated experiments whose effects are known."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np

from spark_uplift.report import ReportInputs

RUN = {"run_id": "sample-0123456789ab", "model_id": "sample-0123456789ab"}
Z = 1.959964
VISIT_FEATURES = ["physlm", "disea", "hlthg", "hlthf", "hlthp"]
FORMULAS = {
    (
        "autoc",
        "grf",
    ): "AUTOC = mean over i of TOC(i/n), TOC(q) = mean score of the best q − mean score of all",
    ("qini", "grf"): "QINI = mean over i of (i/n)·TOC(i/n)",
    ("auuc", "ydf"): "∫ [Y_t(q)/N_t − Y_c(q)/N_c] dq, trapezoid over the share of weight",
    (
        "qini",
        "sklift",
    ): "(A − D) / (P − D); A area under q(k) = Y_t − Y_c·n_t/n_c, D diagonal, P perfect order",
}


def simulate(
    effects: dict[str, float], *, spread: float, base: float, kind: str, n: int = 24_000, seed: int = 7
) -> dict[str, Any]:
    """Rows of an experiment: arm by unit, outcome, and a score that follows the true effect.

    ``spread`` is how much the effect varies with the score (0: not at all); effects in outcome units.
    """
    rng = np.random.default_rng(seed)
    arms = ["control", *effects]
    arm = rng.choice(len(arms), size=n, p=[0.31, *([0.69 / len(effects)] * len(effects))])
    common = rng.normal(size=n)
    score = 0.8 * common + 0.6 * rng.normal(size=(len(arms), n))
    tau = np.zeros((len(arms), n))
    for k, average in enumerate(effects.values(), start=1):
        tau[k] = average + spread * average * score[k]
    mean = base * np.exp(0.25 * rng.normal(size=n)) + tau[arm, np.arange(n)]
    if kind == "binary":
        y = (rng.random(n) < np.clip(mean, 0.001, 0.95)).astype(float)
    else:
        y = rng.poisson(np.clip(mean, 0.05, None) * rng.gamma(0.5, 2.0, size=n)).astype(float)
    noisy = {
        name: tau[k] + 0.05 * abs(effects[name]) * rng.normal(size=n)
        for k, name in enumerate(effects, start=1)
    }
    if spread == 0:
        noisy = {name: value + 0.3 * abs(effects[name]) * rng.normal(size=n) for name, value in noisy.items()}
    return {"arm": arm, "y": y, "score": noisy, "names": list(effects)}


def _difference(y: np.ndarray, treated: np.ndarray, control: np.ndarray) -> tuple[float, float, float]:
    a, b = y[treated], y[control]
    effect = a.mean() - b.mean()
    error = np.sqrt(a.var() / len(a) + b.var() / len(b))
    return float(effect), float(effect - Z * error), float(effect + Z * error)


def _views(data: dict[str, Any]) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, score, treated and control rows of every arm and of the policy, ``*``."""
    arm, names = data["arm"], data["names"]
    views = [(name, data["score"][name], arm == k, arm == 0) for k, name in enumerate(names, start=1)]
    scores = np.array([data["score"][name] for name in names])
    recommended = scores.argmax(axis=0) + 1
    return [*views, ("*", scores.max(axis=0), arm == recommended, arm == 0)]


def _uplift_table(data: dict[str, Any], buckets: int = 10) -> list[dict[str, Any]]:
    rows = []
    y = data["y"]
    for name, score, treated, control in _views(data):
        rank = np.empty(len(score), dtype=int)
        rank[np.argsort(-score)] = np.arange(len(score))
        bucket = rank * buckets // len(score) + 1
        for b in range(1, buckets + 1):
            here, best = bucket == b, bucket <= b
            effect = _difference(y, here & treated, here & control)
            total = _difference(y, best & treated, best & control)
            rows.append(
                {
                    **RUN,
                    "split": "holdout",
                    "arm": name,
                    "bucket": b,
                    "n": int(here.sum()),
                    "n_treated": int((here & treated).sum()),
                    "n_control": int((here & control).sum()),
                    "score_min": float(score[here].min()),
                    "score_max": float(score[here].max()),
                    "predicted": float(score[here].mean()),
                    "mean_treated": float(y[here & treated].mean()),
                    "mean_control": float(y[here & control].mean()),
                    "uplift": effect[0],
                    "lower": effect[1],
                    "upper": effect[2],
                    "cumulative_n": int(best.sum()),
                    "cumulative_uplift": total[0],
                    "cumulative_lower": total[1],
                    "cumulative_upper": total[2],
                }
            )
    return rows


def _curves(data: dict[str, Any], points: int = 100) -> list[dict[str, Any]]:
    rows = []
    for name, score, is_treated, is_control in _views(data):
        order = np.argsort(-score)
        y, treated, control = data["y"][order], is_treated[order], is_control[order]
        ate = _difference(y, treated, control)[0]
        for i in range(3, points + 1):
            share = i / points
            best = np.arange(len(y)) < share * len(y)
            value, low, high = _difference(y, best & treated, best & control)
            shrink = np.sqrt(1 - share)
            for curve, v, half, baseline in (
                ("uplift", value, (high - low) / 2, ate),
                ("qini", share * value, share * (high - low) / 2, share * ate),
                ("toc", value - ate, shrink * (high - low) / 2, 0.0),
            ):
                rows.append(
                    {
                        **RUN,
                        "arm": name,
                        "curve": curve,
                        "fraction": share,
                        "value": v,
                        "lower": v - half,
                        "upper": v + half,
                        "baseline": baseline,
                    }
                )
    return rows


def _metrics(curves: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    rows = []
    for name in sorted({row["arm"] for row in curves}):
        toc = [row for row in curves if row["arm"] == name and row["curve"] == "toc"]
        autoc = float(np.mean([row["value"] for row in toc]))
        half = float(np.mean([row["upper"] - row["value"] for row in toc])) * 0.7
        for (metric, style), formula in FORMULAS.items():
            scale = {"autoc": 1.0, "qini": 0.4, "auuc": 0.8}[metric] * (0.1 if style == "sklift" else 1.0)
            rows.append(
                {
                    **RUN,
                    "arm": name,
                    "metric": metric,
                    "style": style,
                    "value": autoc * scale,
                    "std_error": half * scale / Z,
                    "lower": (autoc - half) * scale,
                    "upper": (autoc + half) * scale,
                    "level": 0.95,
                    "n": n,
                    "bootstrap": 200,
                    "exact": True,
                    "formula": formula,
                }
            )
    return rows


def _histogram(data: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name in data["names"]:
        counts, edges = np.histogram(data["score"][name], bins=40)
        for i, n in enumerate(counts):
            rows.append(
                {"arm": name, "lower": float(edges[i]), "upper": float(edges[i + 1]), "count": int(n)}
            )
    return rows


def _segments(data: dict[str, Any], rules: list[tuple[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for number, (rule, shift) in enumerate(rules, start=1):
        for k, name in enumerate(data["names"], start=1):
            score, arm, y = data["score"][name], data["arm"], data["y"]
            here = np.abs((score - score.mean()) / (score.std() or 1.0) - shift) < 0.7
            effect = _difference(y, here & (arm == k), here & (arm == 0))
            rows.append(
                {
                    **RUN,
                    "segment": number,
                    "rule": rule,
                    "share": float(here.mean()),
                    "arm": name,
                    "n": int(here.sum()),
                    "n_treated": int((here & (arm == k)).sum()),
                    "n_control": int((here & (arm == 0)).sum()),
                    "mean_treated": float(y[here & (arm == k)].mean()),
                    "mean_control": float(y[here & (arm == 0)].mean()),
                    "uplift": effect[0],
                    "lower": effect[1],
                    "upper": effect[2],
                    "recommended": data["names"][0] if shift > -1 else "control",
                }
            )
    return rows


def _importances(features: list[str]) -> list[dict[str, Any]]:
    gains = np.sort(np.random.default_rng(1).dirichlet(np.ones(len(features))))[::-1]
    rows = [
        {**RUN, "feature": f, "method": "gain", "importance": float(g), "std_error": None}
        for f, g in zip(features, gains, strict=True)
    ]
    rows += [
        {
            **RUN,
            "feature": f,
            "method": "permutation",
            "importance": float(0.06 * g - 0.001),
            "std_error": float(0.004 + 0.01 * g),
        }
        for f, g in zip(features, gains, strict=True)
    ]
    return rows


CHECKS = [
    (
        "sample_ratio",
        "pass",
        None,
        0.41,
        0.001,
        "p-value",
        "The arms' shares agree with the design (chi-square p = 0.41).",
        "",
    ),
    (
        "arm_predictability",
        "pass",
        "disea",
        0.512,
        0.6,
        "AUC",
        "No feature predicts the arm; the nearest is disea.",
        "",
    ),
    (
        "missing_values",
        "warn",
        "hlthp",
        0.31,
        0.25,
        "share",
        "31 % of hlthp are missing.",
        "See whether the values are missing in one arm more than in others.",
    ),
    ("constant_columns", "pass", None, 0.0, 0.0, "columns", "Every feature varies.", ""),
    (
        "late_features",
        "skip",
        None,
        None,
        None,
        None,
        "No timestamps were given, so features can't be dated.",
        "",
    ),
]


def checks(status: str | None = None) -> list[dict[str, Any]]:
    """Check results; with ``status`` the first check has it."""
    names = ("check", "status", "column_name", "value", "threshold", "unit", "message", "hint")
    rows = [dict(zip(names, row, strict=True)) for row in CHECKS]
    if status:
        rows[0] |= {
            "status": status,
            "value": 2e-9,
            "message": "The arms' shares can't be the design's (p = 2e-9).",
        }
    return rows


CARD = {
    "config_yaml": "name: sample\nseed: 1\nforest:\n  numTrees: 100\n  maxDepth: 7\n",
    "data_version": "training_view v3",
    "digest": "sha256:4f0c8a51d2e94b7f6a3c1e0d9b8a7f6e5d4c3b2a19081726354455667788990a",
    "library_versions": {"spark_uplift": "0.1.0", "pyspark": "4.2.0", "numpy": "2.4.1", "numba": "0.68.0"},
    "forest_parameters": {
        "criterion": "gradient",
        "numTrees": 100,
        "maxDepth": 7,
        "maxBins": 64,
        "shrinkage": 500.0,
        "honest": False,
        "seed": 1,
    },
    "run_id": RUN["run_id"],
    "model_id": RUN["model_id"],
    "mlflow_model_uri": "models:/spark_uplift_sample/3",
    "created_at": datetime(2026, 3, 14, 9, 26, tzinfo=timezone.utc),
}


def _inputs(
    data: dict[str, Any],
    name: str,
    outcome: dict[str, str],
    features: list[str],
    rules: list[tuple[str, float]],
) -> ReportInputs:
    curves = _curves(data)
    arms = ["control", *data["names"]]
    shares = [0.31] + [0.69 / len(data["names"])] * len(data["names"])
    experiment = {
        **RUN,
        "name": name,
        "source": "sample",
        "source_version": None,
        "treatment": "plan",
        "control": "control",
        "outcome": outcome["name"],
        "features": features,
        "rows_in": len(data["y"]) + 37,
        "rows_quarantined": 37,
        "created_at": CARD["created_at"],
    }
    return ReportInputs(
        experiment=[experiment],
        check_results=checks(),
        evaluation_metrics=_metrics(curves, len(data["y"])),
        evaluation_curves=curves,
        uplift_table=_uplift_table(data),
        segments=_segments(data, rules),
        feature_importance=_importances(features),
        score_histogram=_histogram(data),
        quarantine_counts=[
            {"reason": "outcome_missing", "count": 31},
            {"reason": "duplicate_unit", "count": 6},
        ],
        arm_counts=[
            {"arm": arm, "count": int((data["arm"] == k).sum()), "design_share": shares[k]}
            for k, arm in enumerate(arms)
        ],
        model_card=CARD,
        outcome=outcome,
    )


VISIT_RULES = [
    ("disea > 13.7 and hlthg <= 0.5", 1.6),
    ("disea > 10.6 and physlm > 0.12", 0.9),
    ("disea > 6.9 and hlthf <= 0.5", 0.2),
    ("disea <= 6.9 and hlthg > 0.5", -1.2),
]


def visits(spread: float = 0.55, effects: dict[str, float] | None = None, **options: Any) -> ReportInputs:
    """Three arms, outpatient visits a year."""
    averages = effects or {"free care": 0.95, "25 % coinsurance": 0.5, "50 % coinsurance": 0.32}
    data = simulate(averages, spread=spread, base=2.2, kind="continuous", **options)
    return _inputs(
        data,
        "Health insurance experiment",
        {"name": "mdvis", "kind": "continuous", "unit": "visits"},
        VISIT_FEATURES,
        VISIT_RULES,
    )


def conversions(spread: float = 0.6, effect: float = 0.03, **options: Any) -> ReportInputs:
    """One arm, binary outcome."""
    data = simulate({"e-mail": effect}, spread=spread, base=0.1, kind="binary", **options)
    features = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]
    rules = [
        ("womens = 1 and recency <= 6", 1.3),
        ("history > 325.6", 0.4),
        ("newbie = 1 and channel in (Phone, Web)", -1.2),
    ]
    return _inputs(
        data, "E-mail campaign", {"name": "visit", "kind": "binary", "unit": "visits"}, features, rules
    )
