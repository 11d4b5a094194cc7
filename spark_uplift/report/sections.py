"""What the sections on the experiment and the model say, as texts ready for the template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.findings import POLICY_NAME, Finding
from spark_uplift.report.format import (
    MINUS,
    MISSING,
    count,
    date,
    finite,
    percent,
)
from spark_uplift.report.inputs import ReportInputs, Row

MAX_PASSED_APART = 2
STATUS_ORDER = ("fail", "warn", "pass", "skip")
STATUS_WORDS = {"fail": "failed", "warn": "warning", "pass": "passed", "skip": "skipped"}

View = dict[str, Any]


def experiment_view(inputs: ReportInputs) -> View:
    """Facts of the experiment: label and text pairs, and the rows that came in and were set aside."""
    if not inputs.experiment:
        return {"facts": [], "rows_in": None}
    row = inputs.experiment[0]
    features = list(row["features"] or [])
    set_aside = _share(row["rows_quarantined"], row["rows_in"])
    facts = [
        ("Source", str(row["source"])),
        ("Treatment column", str(row["treatment"])),
        ("Control arm", str(row["control"])),
        ("Outcome", str(row["outcome"])),
        (f"Features ({len(features)})", ", ".join(map(str, features)) or MISSING),
        ("Rows read", count(row["rows_in"])),
        (
            "Rows set aside",
            f"{count(row['rows_quarantined'])} ({percent(set_aside, 2)})"
            if row["rows_quarantined"]
            else "none",
        ),
    ]
    return {"facts": facts, "rows_in": row["rows_in"]}


def _share(part: Any, whole: Any) -> float | None:
    return part / whole if part is not None and whole else None


def arms_view(inputs: ReportInputs, found: list[Finding]) -> list[View]:
    """Rows of the arm table, control first: how many units, and which share beside the design's."""
    control = str(inputs.experiment[0]["control"]) if inputs.experiment else "control"
    colours = arm_colours(inputs)
    if inputs.arm_counts:
        counts = [(str(row["arm"]), row["count"], row["design_share"]) for row in inputs.arm_counts]
    elif found:
        counts = [
            (control, found[0].n_control, None),
            *((f.arm, f.n_treated, None) for f in found if f.arm != POLICY_NAME),
        ]
    else:
        counts = []
    total = sum(n for _, n, _ in counts)
    rows = [
        {
            "arm": arm,
            "control": arm == control,
            "colour": colours.get(arm),
            "count": count(n),
            "share": percent(_share(n, total), 1),
            "design": percent(design, 1) if design is not None else "not given",
        }
        for arm, n, design in counts
    ]
    return sorted(rows, key=lambda row: (not row["control"], row["arm"]))


def checks_view(inputs: ReportInputs) -> list[View]:
    """Check results, the worst first."""
    rank = {status: i for i, status in enumerate(STATUS_ORDER)}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(inputs.check_results, key=lambda row: (rank.get(row["status"], 0), str(row["check"]))):
        groups.setdefault((row["status"], str(row["check"])), []).append(row)
    views = []
    for (status, _), rows in groups.items():
        together = status in ("pass", "skip") and len(rows) > MAX_PASSED_APART
        views += [_check_together(rows)] if together else [_check_line(row) for row in rows]
    return views


def _check_line(row: Row) -> View:
    return {
        "check": str(row["check"]).replace("_", " "),
        "column": row["column_name"],
        "arm": "",
        "status": row["status"] if row["status"] in STATUS_WORDS else "fail",
        "word": STATUS_WORDS.get(row["status"], str(row["status"])),
        "message": row["message"] or "",
        "hint": row["hint"] or "",
        "measured": _measured(row),
    }


def _check_together(rows: list[Row]) -> View:
    """One line for a check that went well on many columns, which would hide those that did not."""
    columns = ", ".join(str(row["column_name"]) for row in rows)
    return {
        **_check_line(rows[0]),
        "column": None,
        "measured": "",
        "message": f"{len(rows)} columns: {columns}.",
        "hint": "",
    }


def _measured(row: Row) -> str:
    if finite(row["value"]) is None:
        return ""
    unit = str(row["unit"] or "value")
    limit = "" if finite(row["threshold"]) is None else f", limit {_in_unit(row['threshold'], unit)}"
    return f"{unit} {_in_unit(row['value'], unit)}{limit}"


def _in_unit(value: float, unit: str) -> str:
    return percent(value, 1) if unit == "share" else f"{value:.3g}".replace("-", MINUS)


def failed_checks(inputs: ReportInputs) -> list[str]:
    """Names of the checks that failed, each once."""
    return sorted(
        {str(row["check"]).replace("_", " ") for row in inputs.check_results if row["status"] == "fail"}
    )


def quarantine_view(inputs: ReportInputs) -> list[View]:
    """Rows set aside by reason, the commonest first."""
    rows_in = inputs.experiment[0]["rows_in"] if inputs.experiment else None
    rows = sorted(inputs.quarantine_counts, key=lambda row: -row["count"])
    return [
        {
            "reason": str(row["reason"]).replace("_", " "),
            "count": count(row["count"]),
            "share": percent(_share(row["count"], rows_in), 2),
        }
        for row in rows
        if row["count"]
    ]


def card_view(inputs: ReportInputs) -> View:
    """The model card: facts, parameters, library versions and the configuration's text."""
    card = inputs.model_card
    names = {
        "model_id": "Model",
        "run_id": "Run",
        "created_at": "Created",
        "data_version": "Data version",
        "digest": "Digest",
        "mlflow_model_uri": "MLflow model",
    }
    return {
        "facts": [
            (title, date(card[key]) if card.get(key) is not None else "not recorded")
            for key, title in names.items()
        ],
        "parameters": _pairs(card.get("forest_parameters")),
        "libraries": _pairs(card.get("library_versions")),
        "config": card.get("config_yaml"),
    }


def _pairs(values: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [(str(name), MISSING if value is None else str(value)) for name, value in (values or {}).items()]
