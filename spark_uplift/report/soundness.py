"""What the checks of the evaluation itself say: how far its numbers can be trusted."""

from __future__ import annotations

from typing import Any

from spark_uplift.report.findings import ALL_ARMS
from spark_uplift.report.format import MISSING, count, finite, percent, plain
from spark_uplift.report.inputs import ReportInputs, Row
from spark_uplift.report.sections import STATUS_ORDER, STATUS_WORDS

View = dict[str, Any]

_LEADS = {
    "fail": "Something here undermines the numbers of this page; read it before any of them.",
    "warn": "Something here makes the numbers of this page less certain than their intervals say.",
    "pass": "The evaluation rests on enough comparable rows, and its ranking on scores that tell units apart.",
}


def soundness_view(inputs: ReportInputs) -> View | None:
    """A sentence on the whole and a line per check and arm, the worst first; None without such checks."""
    if not inputs.evaluation_checks:
        return None
    rank = {status: i for i, status in enumerate(STATUS_ORDER)}
    rows = sorted(
        inputs.evaluation_checks,
        key=lambda row: (rank.get(row["status"], 0), str(row["check"]), str(row["arm"])),
    )
    worst = str(rows[0]["status"])
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((str(row["status"]), str(row["check"])), []).append(row)
    lines = []
    for (status, _), members in groups.items():
        lines += (
            [_together(members)] if status == "pass" and len(members) > 1 else [_line(row) for row in members]
        )
    return {"lead": _LEADS.get(worst, _LEADS["pass"]), "checks": lines}


def warning(inputs: ReportInputs) -> str:
    """What failed, for the top of the page; empty when nothing did."""
    failed = sorted(
        {str(row["check"]).replace("_", " ") for row in inputs.evaluation_checks if row["status"] == "fail"}
    )
    if not failed:
        return ""
    what = "A check" if len(failed) == 1 else f"{len(failed)} checks"
    return f"{what} of the evaluation failed ({', '.join(failed)}): the numbers below rest on too little."


def _line(row: Row) -> View:
    return {
        "check": str(row["check"]).replace("_", " "),
        "column": None,
        "arm": "" if row["arm"] in (None, ALL_ARMS) else str(row["arm"]),
        "status": row["status"] if row["status"] in STATUS_WORDS else "fail",
        "word": STATUS_WORDS.get(row["status"], str(row["status"])),
        "message": row["message"] or "",
        "hint": row["hint"] or "",
        "measured": _measured(row),
    }


def _together(rows: list[Row]) -> View:
    """One line for a check that went well for several arms, with the range of what was measured."""
    values = sorted(value for row in rows if (value := finite(row["value"])) is not None)
    arms = [str(row["arm"]) for row in rows if row["arm"] not in (None, ALL_ARMS)]
    line = {**_line(rows[0]), "arm": "", "hint": "", "message": f"{', '.join(arms)}." if arms else ""}
    if not values:
        return {**line, "measured": ""}
    unit = str(rows[0]["unit"] or "")
    ends = [in_unit(value, unit) for value in (values[0], values[-1])]
    measured = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    return {**line, "measured": f"{measured}{_limit(rows[0], unit)}"}


def _measured(row: Row) -> str:
    if finite(row["value"]) is None:
        return ""
    unit = str(row["unit"] or "")
    return f"{in_unit(row['value'], unit)}{_limit(row, unit)}"


def _limit(row: Row, unit: str) -> str:
    return "" if finite(row["threshold"]) is None else f", limit {in_unit(row['threshold'], unit)}"


def in_unit(value: Any, unit: str) -> str:
    """A number in its unit: shares as percent, counts whole."""
    if finite(value) is None:
        return MISSING
    if unit in ("share", "probability"):
        return percent(value, 1)
    if unit in ("rows", "units"):
        return f"{count(value)} {unit}"
    return f"{plain(value)} {unit}".rstrip()
