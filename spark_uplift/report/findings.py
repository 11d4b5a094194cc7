"""What the evaluation says about every arm: the facts that the summary puts in words.

Whether targeting helps is decided by the AUTOC (Yadlowsky et al. 2021, "Evaluating treatment prioritization
rules via rank-weighted average treatment effects"): the mean, over all shares treated, of the effect among
those ranked first less the average effect. It is 0 for a ranking at random, whatever the average effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from spark_uplift.report.format import Estimate
from spark_uplift.report.inputs import ReportInputs, Row, Rows

TOP_SHARE = 0.3
"""Share that the headline speaks of: fixed beforehand, because the best of several would flatter itself."""

ALL_ARMS = "all arms"

POLICY = "*"
"""In the evaluation's tables: the policy that ranks units by their largest predicted effect."""

POLICY_NAME = "best arm for each unit"


class Verdict(Enum):
    """What the interval of AUTOC says about the ranking."""

    HELPS = "helps"
    NO_EVIDENCE = "no evidence"
    HARMS = "harms"
    UNKNOWN = "unknown"


_VERDICT_OF_SIGN = {1: Verdict.HELPS, 0: Verdict.NO_EVIDENCE, -1: Verdict.HARMS, None: Verdict.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Step:
    """The best ``share`` of the units treated: the observed effect among them, per unit."""

    share: float
    effect: Estimate


@dataclass(frozen=True, slots=True)
class Finding:
    """One arm against control, on the evaluated rows.

    Attributes
    ----------
    arm : str
    autoc : Estimate
        With its interval when there is one.
    everybody : Estimate
        Average effect, per unit.
    steps : tuple of Step
        By share, ascending; the last is everybody.
    mean_treated, mean_control : float or None
        Outcome per unit over all evaluated rows of the arm and of control.
    """

    arm: str
    autoc: Estimate
    everybody: Estimate
    steps: tuple[Step, ...]
    n_treated: int
    n_control: int
    mean_treated: float | None
    mean_control: float | None

    @property
    def verdict(self) -> Verdict:
        """What the interval of AUTOC says."""
        return _VERDICT_OF_SIGN[self.autoc.sign]

    @property
    def top(self) -> Step | None:
        """The step nearest to the headline's share, or None without an uplift table."""
        return min(self.steps, key=lambda step: abs(step.share - TOP_SHARE), default=None)


def with_policy_named(inputs: ReportInputs) -> ReportInputs:
    """The inputs with the policy's rows under its plain name; without them when there is one arm only.

    The policy of a single arm is that arm again, so its rows would say everything twice.
    """
    keep = len([arm for arm in arm_names(inputs) if arm != POLICY]) > 1

    def named(rows: Rows) -> list[Row]:
        return [
            {**row, "arm": POLICY_NAME} if row["arm"] == POLICY else row
            for row in rows
            if keep or row["arm"] != POLICY
        ]

    return replace(
        inputs,
        evaluation_metrics=named(inputs.evaluation_metrics),
        evaluation_curves=named(inputs.evaluation_curves),
        other_curves=named(inputs.other_curves),
        uplift_table=named(inputs.uplift_table),
        model_comparison=named(inputs.model_comparison),
        evaluation_checks=named(inputs.evaluation_checks),
    )


def arm_names(inputs: ReportInputs) -> list[str]:
    """The policy if there is one, then the treatment arms in their fixed order (sorted); control left out."""
    control = inputs.experiment[0]["control"] if inputs.experiment else None
    lists = (inputs.uplift_table, inputs.evaluation_metrics, inputs.evaluation_curves, inputs.segments)
    names = {str(row["arm"]) for rows in lists for row in rows if row["arm"] is not None}
    names |= {
        str(row["arm"]) for row in (*inputs.score_histogram, *inputs.arm_counts) if row["arm"] is not None
    }
    return sorted(names - {str(control), ALL_ARMS}, key=lambda name: (name != POLICY_NAME, name))


def find_metric(metrics: Rows, arm: str, names: Sequence[str]) -> Row | None:
    """The row of the first of ``names`` that the arm has; style "grf" before any other."""
    for name in names:
        rows = [row for row in metrics if row["arm"] == arm and str(row["metric"]).lower() == name]
        if rows:
            return min(rows, key=lambda row: row["style"] != "grf")
    return None


def estimate_of(row: Row | None) -> Estimate:
    """A metric row's value and interval; an empty estimate without a row."""
    return Estimate(None) if row is None else Estimate.of(row["value"], row["lower"], row["upper"])


def findings(inputs: ReportInputs) -> list[Finding]:
    """One finding per arm that was evaluated, in the arms' fixed order."""
    found = []
    for arm in arm_names(inputs):
        buckets = sorted(
            (row for row in inputs.uplift_table if row["arm"] == arm), key=lambda row: row["bucket"]
        )
        autoc = find_metric(inputs.evaluation_metrics, arm, ["autoc"])
        if buckets or autoc:
            average = estimate_of(find_metric(inputs.evaluation_metrics, arm, ["ate"]))
            found.append(_finding(arm, estimate_of(autoc), average, buckets))
    return found


def _finding(arm: str, autoc: Estimate, average: Estimate, buckets: Rows) -> Finding:
    total = buckets[-1]["cumulative_n"] if buckets else 0
    steps = tuple(
        Step(
            row["cumulative_n"] / total,
            Estimate.of(row["cumulative_uplift"], row["cumulative_lower"], row["cumulative_upper"]),
        )
        for row in buckets
        if total
    )
    everybody = steps[-1].effect if steps else average
    n_treated = sum(row["n_treated"] for row in buckets)
    n_control = sum(row["n_control"] for row in buckets)
    treated, control = (
        _mean(buckets, "mean_treated", "n_treated"),
        _mean(buckets, "mean_control", "n_control"),
    )
    return Finding(arm, autoc, everybody, steps, n_treated, n_control, treated, control)


def _mean(buckets: Rows, value: str, weight: str) -> float | None:
    """Mean over buckets, each counted by its rows; buckets without rows of the arm say nothing."""
    pairs = [(row[value], row[weight]) for row in buckets if row[value] is not None and row[weight]]
    total = sum(n for _, n in pairs)
    return sum(mean * n for mean, n in pairs) / total if total else None
