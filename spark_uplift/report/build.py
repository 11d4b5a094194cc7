"""Puts the page together: rows in, one self-contained HTML page out.

The page needs no network and allows none: a content security policy names the hashes of its own scripts and
nothing else, so a script that slipped in through data would not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from spark_uplift import __version__
from spark_uplift.report import (
    calibration,
    comparison,
    cost,
    decided,
    metrics_table,
    results,
    sections,
    segments,
    soundness,
    tree,
    value,
)
from spark_uplift.report.charts import CHARTS
from spark_uplift.report.figure import DARK, PALETTE, Figure
from spark_uplift.report.findings import Finding, findings, with_policy_named
from spark_uplift.report.format import Scale, count, date, finite
from spark_uplift.report.inputs import ReportInputs, of_one_model
from spark_uplift.report.summary import Summary, summarise
from spark_uplift.report.templating import environment, resource

__all__ = ["CONTENTS", "OPTIONAL", "ReportInputs", "render"]

CONTENTS = (
    ("summary", "Summary", "Summary"),
    ("experiment", "Experiment", "The experiment and its checks"),
    ("effects", "Effects", "Effect per arm"),
    ("soundness", "Trust", "How far the evaluation can be trusted"),
    ("curves", "Curves", "Uplift and Qini curves"),
    ("toc", "TOC", "TOC: advantage over the average"),
    ("comparison", "Two models", "Two models side by side"),
    ("buckets", "Uplift table", "Uplift table by predicted uplift"),
    ("calibration", "Calibration", "Calibration: predicted against measured"),
    ("segments", "Segments", "Top segments"),
    ("value", "Policy value", "What deciding by the model is worth"),
    ("cost", "Cost curve", "Cost curve: gain against spend"),
    ("tree", "Policy tree", "Policy tree: the decision as rules"),
    ("decisions", "Decisions", "Who gets what"),
    ("importance", "Features", "Feature importances"),
    ("scores", "Scores", "Distribution of scores"),
    ("metrics", "Metrics", "Metrics and their formulas"),
    ("card", "Model card", "Model card"),
)
"""Sections of the page in order: anchor, name in the list of contents, heading."""

OPTIONAL = ("soundness", "comparison", "calibration", "value", "cost", "tree", "decisions")
"""Sections that are left out, also from the list of contents, when a run has nothing to show there."""

_UNIT = "units of outcome"


def render(inputs: ReportInputs) -> str:
    """Make the page.

    Parameters
    ----------
    inputs : ReportInputs

    Returns
    -------
    str
        A complete HTML document, about 1.3 MB (most of it the charting library), without any outside
        reference.
    """
    inputs = with_policy_named(of_one_model(inputs))
    scale = _scale(inputs)
    found = findings(inputs)
    optional = _optional(inputs, scale)
    summary = _summary(inputs, found, scale, optional)
    charts = {name: _chart_view(chart.draw(inputs, scale), chart.caption) for name, chart in CHARTS.items()}
    planner = _planner(found, summary, scale)
    scripts = {name: _script(name) for name in ("boot_js", "plotly_js", "report_js")}
    figures = {
        f"{name}-{i}": figure.spec
        for name, view in charts.items()
        for i, figure in enumerate(view["figures"])
    }
    context = {
        "title": _title(inputs),
        "byline": _byline(inputs),
        "contents": [entry for entry in _contents(inputs) if optional.get(entry[0], True)],
        "palette": [(colour, DARK[colour]) for colour in PALETTE],
        "version": __version__,
        "scale": scale,
        "summary": summary,
        "charts": charts,
        "planner": planner,
        "evaluated_rows": _evaluated_rows(inputs),
        "experiment": sections.experiment_view(inputs),
        "arms": sections.arms_view(inputs, found),
        "arms_note": "" if inputs.arm_counts else f"Counted on {_evaluated_rows(inputs)}.",
        "checks": sections.checks_view(inputs),
        "quarantine": sections.quarantine_view(inputs),
        "effects": results.effects_view(inputs, found, scale),
        "buckets": results.buckets_view(inputs, scale),
        "segments": segments.segments_view(inputs, scale),
        "metrics": metrics_table.metrics_view(inputs, lambda name: not calibration.belongs(name)),
        **optional,
        "card": sections.card_view(inputs),
        "css": Markup(resource("templates/report.css")),
        "script_hashes": Markup(" ".join(_csp_hash(script) for script in scripts.values())),
        "data_json": embed_json(
            {"figures": figures, "dark": DARK, "planner": planner["steps"] if planner else []}
        ),
        **scripts,
    }
    return environment().get_template("report.html.j2").render(context)


def embed_json(value: Any) -> Markup:
    """JSON that is safe inside a script element: no character of it can close the element or open a comment.

    Raises
    ------
    ValueError
        The value holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _summary(
    inputs: ReportInputs, found: Sequence[Finding], scale: Scale, optional: Mapping[str, Any]
) -> Summary:
    """The opening words, with what undermines the evaluation first and what was decided last."""
    summary = summarise(found, scale, sections.failed_checks(inputs))
    warnings = [summary.warning, soundness.warning(inputs)]
    decided_lead = (optional["decisions"] or {}).get("lead")
    details = (
        (*summary.details, f"Decided: {decided_lead[0].lower()}{decided_lead[1:]}")
        if decided_lead
        else summary.details
    )
    return replace(summary, warning=" ".join(filter(None, warnings)), details=details)


def _optional(inputs: ReportInputs, scale: Scale) -> dict[str, Any]:
    """The views of the optional sections; those that are empty are not shown."""
    return {
        "soundness": soundness.soundness_view(inputs),
        "comparison": comparison.comparison_view(inputs),
        "calibration": calibration.calibration_view(inputs),
        "value": value.value_view(inputs, scale),
        "cost": cost.cost_view(inputs, scale),
        "tree": tree.trees_view(inputs, scale),
        "decisions": decided.decided_view(inputs),
    }


def _scale(inputs: ReportInputs) -> Scale:
    experiment = inputs.experiment[0] if inputs.experiment else {}
    level = next((finite(row["level"]) for row in inputs.evaluation_metrics if finite(row["level"])), None)
    return Scale(
        name=str(inputs.outcome.get("name") or experiment.get("outcome") or "the outcome"),
        kind=str(inputs.outcome.get("kind") or "continuous"),
        unit=str(inputs.outcome.get("unit") or _UNIT),
        level=level,
    )


def _contents(inputs: ReportInputs) -> list[tuple[str, str, str]]:
    """The sections, with the uplift table called by what its groups are."""
    by_decile = max((row["bucket"] for row in inputs.uplift_table), default=0) == 10
    name = "Uplift table by decile" if by_decile else "Uplift table by group"
    return [(anchor, short, name if anchor == "buckets" else heading) for anchor, short, heading in CONTENTS]


def _title(inputs: ReportInputs) -> str:
    return str(inputs.experiment[0]["name"]) if inputs.experiment else "Experiment"


def _byline(inputs: ReportInputs) -> list[str]:
    parts = []
    if inputs.experiment:
        row = inputs.experiment[0]
        parts += [f"Outcome: {row['outcome']}", f"Control: {row['control']}", f"{count(row['rows_in'])} rows"]
    if inputs.model_card.get("created_at") is not None:
        parts.append(date(inputs.model_card["created_at"]))
    return parts


def _evaluated_rows(inputs: ReportInputs) -> str:
    """In words, which rows the effects were measured on."""
    splits = {row.get("split") for row in inputs.uplift_table} - {None}
    if splits == {"holdout"}:
        return "the holdout rows, which the forest has not seen"
    if splits == {"train"}:
        return "the training rows themselves, which flatters the model"
    return "the evaluated rows"


def _chart_view(figures: Sequence[Figure], caption: str) -> dict[str, Any]:
    columns = {1: 1, 2: 2, 4: 2}.get(len(figures), 3)
    return {"figures": figures, "columns": columns, "caption": caption}


def _planner(found: Sequence[Finding], summary: Summary, scale: Scale) -> dict[str, Any] | None:
    """The steps of the "how many to treat" slider, and where it starts."""
    steps = results.steps_view(list(found), scale)
    if not steps:
        return None
    arms = list(steps)
    arm = arms.index(summary.arm) if summary.arm in steps else 0
    finding = next(f for f in found if f.arm == arms[arm])
    step = finding.steps.index(finding.top) if finding.top else 0
    rows = list(steps.values())
    return {
        "arms": arms,
        "arm": arm,
        "step": step,
        "last": len(rows[arm]) - 1,
        "start": rows[arm][step],
        "everybody": rows[arm][-1],
        "steps": rows,
    }


_SCRIPT_FILES = {
    "boot_js": "templates/boot.js",
    "plotly_js": "assets/plotly-basic.min.js",
    "report_js": "templates/report.js",
}


def _script(name: str) -> Markup:
    return Markup(resource(_SCRIPT_FILES[name]))


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
