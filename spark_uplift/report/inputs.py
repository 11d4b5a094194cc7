"""What the report is made from: plain rows, exactly as the tables hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spark_uplift.errors import DataError, bad_value

Row = Mapping[str, Any]
"""One row of a table, keyed by column name."""

Rows = Sequence[Row]

OUTCOME_KINDS = ("binary", "continuous")

# The columns that the page reads, not the tables' schemas (those are in `schemas`): a row may carry more.
COLUMNS_READ: dict[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in {
        "experiment": "name source treatment control outcome features rows_in rows_quarantined",
        "check_results": "check status column_name value threshold unit message hint",
        "evaluation_metrics": "arm metric style value lower upper level n bootstrap exact formula",
        "evaluation_curves": "arm curve fraction value lower upper baseline",
        "uplift_table": "arm bucket n n_treated n_control predicted mean_treated mean_control "
        "uplift lower upper cumulative_n cumulative_uplift cumulative_lower cumulative_upper",
        "segments": "segment rule share arm n n_treated n_control mean_treated mean_control "
        "uplift lower upper recommended",
        "feature_importance": "feature method importance std_error",
        "score_histogram": "arm lower upper count",
        "quarantine_counts": "reason count",
        "arm_counts": "arm count design_share",
        "other_curves": "arm curve fraction value lower upper baseline",
        "model_comparison": "other_model arm metric style value other_value difference lower upper p_value level n "
        "bootstrap",
        "evaluation_checks": "arm check status value threshold unit message hint",
        "policy_value": "policy method value lower upper level interval relative n effective_sample_size "
        "max_weight clipped_share message",
        "cost_curve": "policy fraction spend gain lower upper net marginal baseline",
        "policy_trees": "kind node depth feature rule threshold left_levels missing_left arm n share value lower "
        "upper sql",
        "decision_summary": "arm n share cost gain lower upper net",
        "decision_constraints": "constraint kind limit used price binding message",
        "decision_reasons": "arm reason count",
    }.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything that one page shows. Every list may be empty; the page then says so.

    Parameters
    ----------
    experiment : sequence of mapping
        The row of table ``experiments`` (one row, or none).
    check_results, evaluation_metrics, evaluation_curves, uplift_table, segments, feature_importance :
    sequence of mapping
        Rows of the tables of the same names, for one run. Effects and means are in outcome units per unit,
        ``share`` and ``fraction`` in 0..1.
    score_histogram : sequence of mapping
        ``arm, lower, upper, count``: predicted uplift (outcome units) in equal bins per arm.
    quarantine_counts : sequence of mapping
        ``reason, count``: rows set aside, by reason.
    arm_counts : sequence of mapping
        ``arm, count, design_share``: usable rows of every arm, control included; ``design_share`` in 0..1
        or None. When empty, the counts come from ``uplift_table`` (the evaluated rows only).
    model_comparison, evaluation_checks, policy_value, cost_curve, policy_trees, decision_summary,
    decision_constraints : sequence of mapping
        Rows of the tables of the same names, for one run (the decisions' of one list). Their sections are left
        out when they have no rows.
    other_curves : sequence of mapping
        Rows of ``evaluation_curves`` of a second model. They may as well stand among the first model's, under
        their own ``model_id``.
    decision_reasons : sequence of mapping
        ``arm, reason, count``: decided units by arm and reason.
    model_card : mapping
        Any of ``config_yaml, data_version, digest, library_versions (mapping), forest_parameters (mapping),
        run_id, model_id, mlflow_model_uri, created_at``; what is missing reads "not recorded".
    economics : mapping
        Any of ``value`` (money per unit of the outcome), ``costs`` (money per unit by arm), ``currency``.
    outcome : mapping
        ``name``, ``kind`` ("binary" or "continuous") and ``unit`` (plural noun such as "visits").

    Raises
    ------
    DataError
        A row lacks a column that the page reads, ``experiment`` has several rows, or the outcome's kind is
        unknown; all faults together.
    """

    experiment: Rows
    check_results: Rows = ()
    evaluation_metrics: Rows = ()
    evaluation_curves: Rows = ()
    uplift_table: Rows = ()
    segments: Rows = ()
    feature_importance: Rows = ()
    score_histogram: Rows = ()
    quarantine_counts: Rows = ()
    arm_counts: Rows = ()
    other_curves: Rows = ()
    model_comparison: Rows = ()
    evaluation_checks: Rows = ()
    policy_value: Rows = ()
    cost_curve: Rows = ()
    policy_trees: Rows = ()
    decision_summary: Rows = ()
    decision_constraints: Rows = ()
    decision_reasons: Rows = ()
    economics: Mapping[str, Any] = field(default_factory=dict)
    model_card: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = [
            fault
            for name, columns in COLUMNS_READ.items()
            for fault in _missing(name, getattr(self, name), columns)
        ]
        if len(self.experiment) > 1:
            got = f"{len(self.experiment)} rows"
            faults.append(
                bad_value("experiment", "ReportInputs", "one row or none", got, "filter the table by run_id")
            )
        kind = self.outcome.get("kind", "continuous")
        if kind not in OUTCOME_KINDS:
            faults.append(
                bad_value("outcome", "ReportInputs", f"a mapping with a kind among {OUTCOME_KINDS}", kind)
            )
        if faults:
            raise DataError(faults)


def _missing(name: str, rows: Rows, columns: tuple[str, ...]) -> list[str]:
    """One fault for a list whose rows lack columns; the first such row speaks for all."""
    for row in rows:
        lacking = [column for column in columns if column not in row]
        if lacking:
            expected = f"rows with the columns {list(columns)}"
            hint = "pass the table's rows unchanged"
            return [bad_value(name, "ReportInputs", expected, f"a row without {lacking}", hint)]
    return []


def of_one_model(inputs: ReportInputs) -> ReportInputs:
    """Part the rows of the page's model from the curves of the model that it is compared with.

    The page's model is the model card's, or the one that ``model_comparison`` compares; without either, every row
    is taken to be of one model.
    """
    wanted = inputs.model_card.get("model_id")
    if wanted is None and inputs.model_comparison:
        wanted = inputs.model_comparison[0].get("model_id")

    def own(rows: Rows) -> list[Row]:
        return [row for row in rows if row.get("model_id", wanted) == wanted]

    curves = inputs.evaluation_curves
    if wanted is None or (curves and not own(curves)):
        return inputs
    return replace(
        inputs,
        evaluation_metrics=own(inputs.evaluation_metrics),
        evaluation_curves=own(curves),
        other_curves=[*inputs.other_curves, *(r for r in curves if r.get("model_id", wanted) != wanted)],
        uplift_table=own(inputs.uplift_table),
        evaluation_checks=own(inputs.evaluation_checks),
    )
