"""`policy_value`: what would a policy have earned on rows that another policy logged, at any size.

ALGORITHM
    1. One pass over the compact frame (policy_columns.py) counts faults and finds the largest value of each lane
       (policy/value_sums.py).
    2. One pass adds up the lanes, the products of pairs of lanes, and R bootstrap replicates of the lanes, for all
       policies together: values are whole numbers on a grid, so no partitioning changes the result. A row counts
       Poisson(1) times in a replicate, by a hash of its unit. With clusters their lanes are added up first, by a
       `groupBy`, and a cluster then stands where a row stood.
    The driver gets the sums alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import DataError, bad_value
from spark_uplift.policy.value import Estimate, Question, estimates, value_of
from spark_uplift.policy.value_sums import LOGGED, Layout, Sums, choice_faults
from spark_uplift.spark.keep import kept
from spark_uplift.spark.policy_columns import (
    PolicyColumns,
    compact,
    logged_actions,
    no_rows,
    summarise,
    type_faults,
    unlogged_names,
)
from spark_uplift.spark.policy_sums import cluster_sums, row_sums
from spark_uplift.spark.small_tables import small_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["PolicyQuestion", "policy_estimates", "policy_value"]


@dataclass(frozen=True, kw_only=True)
class PolicyQuestion:
    """What is asked about the policies; see `policy_value`."""

    methods: tuple[str, ...]
    intervals: tuple[str, ...] = ("normal",)
    level: float = 0.95
    bootstrap: int = 200
    seed: int = 1
    clip: float | None = None
    reward_range: tuple[float, float] | None = None
    money: float = 1.0
    baseline: str | tuple[str, ...] = LOGGED
    include_logged: bool = False
    unlogged: str = "error"
    tolerance: float = 1e-3

    @property
    def replicates(self) -> int:
        """Replicates that are needed."""
        return self.bootstrap if "bootstrap" in self.intervals else 0


def policy_value(
    df: DataFrame,
    *,
    actionCol: str,
    rewardCol: str,
    propensityCol: str,
    policyCol: str | Mapping[str, str],
    method: str | Sequence[str] = "snips",
    interval: str | Sequence[str] = "normal",
    predictedCol: str | tuple[str, str] | None = None,
    actions: Sequence[str] | None = None,
    costs: Mapping[str, float] | None = None,
    value: float = 1.0,
    weightCol: str | None = None,
    idCol: str | None = None,
    clusterCol: str | None = None,
    clip: float | None = None,
    rewardRange: tuple[float, float] | None = None,
    level: float = 0.95,
    bootstrap: int = 200,
    seed: int = 1,
    baseline: str | Sequence[str] = LOGGED,
    includeLogged: bool = False,
    unloggedActions: str = "error",
    tolerance: float = 1e-3,
) -> DataFrame:
    """Estimate the mean reward that a policy would have had, from rows logged under known propensities.

    With rho = P(logged action | policy) / logged propensity, reward r, row weight w, q the predicted reward of the
    logged action and v the predicted reward under the policy:

    ============= ======================================== ===========================================
    ips           sum(w rho r) / sum(w)                    Horvitz & Thompson 1952
    clipped_ips   sum(w min(rho, M) r) / sum(w)            Ionides 2008 (M = sqrt(n) unless given)
    snips         sum(w rho r) / sum(w rho)                Swaminathan & Joachims 2015
    dm            sum(w v) / sum(w)                        direct method
    dr            sum(w (v + rho (r-q))) / sum(w)          Dudik, Langford & Li 2011
    switch        sum(w (v + rho 1[rho<=M] (r-q)))/sum(w)  Wang, Agarwal & Dudik 2017 (switch-DR)
    ============= ======================================== ===========================================

    Intervals: ``normal`` (linearised standard error; robust to clusters), ``bootstrap`` (percentiles of a Poisson
    bootstrap keyed by unit or cluster, the same numbers for any partitioning) and ``empirical_bernstein`` (Maurer &
    Pontil 2009, Theorem 4: valid at any sample size for clipped_ips, switch and dm with a known reward range, and
    wide; it covers the clipped value). Several policies are evaluated together on the same rows, so that differences
    are paired.

    Parameters
    ----------
    df : DataFrame
        Logged rows; read twice or more, and kept between the passes where Spark can.
    actionCol : str
        What was done (compared as text).
    rewardCol : str
        What came of it: a number or a boolean.
    propensityCol : str
        Logged probability, in (0, 1], of the action that was taken.
    policyCol : str or mapping of str to str
        The policy: a number (its probability of the logged action), text (the action that it takes) or a
        ``map<string,double>`` or ``array<double>`` (its probability of each action). A mapping of names to columns
        evaluates several policies.
    method, interval : str or sequence of str
        See above.
    predictedCol : str or (str, str), optional
        Predicted reward of each action (map or array), or two number columns: of the logged action, and expected
        under the policy. Needed by dm, dr and switch; predict with models that have not seen the row.
    actions : sequence of str, optional
        Actions of the elements of array columns, in order.
    costs : mapping of str to float, optional
        Cost of each action [money]; actions left out cost nothing. Fills ``cost`` and ``net``.
    value : float
        What one unit of reward is worth [money], for ``net``.
    weightCol, idCol, clusterCol : str, optional
        Row weights, 0 or more; unit; cluster whose rows are not independent.
    clip : float, optional
        M above; sqrt(n) by default.
    rewardRange : (float, float), optional
        Least and largest possible reward, for empirical Bernstein; those seen by default, and the message says so.
    level, bootstrap, seed : float, int, int
        Coverage in (0, 1), replicates and their seed.
    baseline : str or sequence of str
        Policy that ``difference`` compares with: ``"logged"``, or a name of `policyCol`. Of several, the one of the
        largest value by the first method; it was picked by its luck too, so that the difference is on the safe side.
    includeLogged : bool
        Whether a row for the mean logged reward (method ``mean``) comes first.
    unloggedActions : str
        ``"error"``: a policy that takes an action which never occurs in the data is refused; ``"warn"``: its
        probability of such actions earns nothing, and the message says so.
    tolerance : float
        By how much the probabilities of a distribution may miss the sum 1.

    Returns
    -------
    DataFrame
        A row a policy, method and interval: policy, method, value, std_error, lower, upper, level, interval,
        relative (to the mean logged reward), n, effective_sample_size, max_weight, clipped_share, message,
        mean_weight (about 1) and its error, cost, net, and the paired difference to the baseline.

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Bad parameters, types or values, all faults of a stage together: propensities outside (0, 1], probabilities
        that are negative or don't add up to 1, actions that were never logged (named), missing predictions, …

    Warns
    -----
    UserWarning
        Poor overlap: the texts of ``message``.
    """
    asked = PolicyQuestion(
        methods=(method,) if isinstance(method, str) else tuple(method),
        intervals=(interval,) if isinstance(interval, str) else tuple(interval),
        level=level,
        bootstrap=bootstrap,
        seed=seed,
        clip=clip,
        reward_range=rewardRange,
        money=value,
        baseline=baseline if isinstance(baseline, str) else tuple(baseline),
        include_logged=includeLogged,
        unlogged=unloggedActions,
        tolerance=tolerance,
    )
    columns = PolicyColumns(
        action=actionCol,
        reward=rewardCol,
        propensity=propensityCol,
        policies={policyCol: policyCol} if isinstance(policyCol, str) else dict(policyCol),
        predicted=predictedCol,
        actions=None if actions is None else tuple(str(action) for action in actions),
        costs=None if costs is None else dict(costs),
        weight=weightCol,
        unit=idCol,
        cluster=clusterCol,
        needs_unit=clusterCol is not None or asked.replicates > 0,
    )
    found = policy_estimates(df, columns, asked)
    for text in dict.fromkeys(f"{one.policy}, {one.method}: {one.message}" for one in found if one.message):
        warnings.warn(text, UserWarning, stacklevel=2)
    return small_table(df.sparkSession, "policy_value", [vars(one) for one in found], ("run_id", "model_id"))


def policy_estimates(df: DataFrame, columns: PolicyColumns, asked: PolicyQuestion) -> list[Estimate]:
    """Return the estimates of `policy_value` as plain values.

    Raises
    ------
    ColumnNotFoundError, DataError
        As `policy_value`.
    """
    faults = _parameter_faults(columns, asked)
    if faults:
        raise DataError(faults)
    if faults := type_faults(df, columns):
        raise DataError(faults)
    layout = Layout.of(
        tuple(columns.policies), asked.methods, costs=columns.costs is not None, baseline=asked.baseline
    )
    logged = logged_actions(df, columns)
    with kept(compact(df, columns, logged)) as frame:
        seen = summarise(frame, len(layout.policies))
        unlogged = _check(df, columns, asked, seen, logged)
        clip = math.sqrt(seen["n"]) if asked.clip is None else float(asked.clip)
        add = row_sums if columns.cluster is None else cluster_sums
        sums = add(frame, layout, seen, clip, seed=asked.seed, count=asked.replicates)
    question = Question(
        asked.intervals,
        asked.level,
        clip,
        asked.reward_range or (seen["least"], seen["most"]),
        asked.reward_range is not None,
        asked.money,
    )
    layout = layout.against(_baseline(layout, sums, asked))
    found = estimates(layout, sums, question, logged=asked.include_logged)
    return [_with_note(one, unlogged.get(one.policy)) for one in found]


def _baseline(layout: Layout, sums: Sums, asked: PolicyQuestion) -> str:
    """Return the baseline, of several the one of the largest value by the first method."""
    if isinstance(asked.baseline, str):
        return asked.baseline
    values = {name: value_of(layout, sums, name, asked.methods[0]) for name in asked.baseline}
    return max(values, key=lambda name: (values[name], name))


def _with_note(one: Estimate, note: str | None) -> Estimate:
    if not note or one.method == "dm":
        return one
    return Estimate(**{**vars(one), "message": f"{note} {one.message}".strip()})


def _parameter_faults(columns: PolicyColumns, asked: PolicyQuestion) -> list[str]:
    owner = "policy_value"
    faults = choice_faults(
        owner, asked.methods, asked.intervals, level=asked.level, bootstrap=asked.bootstrap
    )
    policies = [LOGGED, *columns.policies]
    if not columns.policies or LOGGED in columns.policies:
        expected = f"at least one policy, none of them called {LOGGED!r}"
        faults.append(bad_value("policyCol", owner, expected, dict(columns.policies)))
    baselines = {asked.baseline} if isinstance(asked.baseline, str) else set(asked.baseline)
    if not baselines or not baselines <= set(policies):
        faults.append(bad_value("baseline", owner, f"one of {policies}", asked.baseline))
    needing = [name for name in asked.methods if name in ("dm", "dr", "switch")]
    if needing and columns.predicted is None:
        faults.append(bad_value("predictedCol", owner, f"given for the methods {needing}", None))
    if columns.predicted is not None and len(columns.predictions) not in (1, 2):
        faults.append(bad_value("predictedCol", owner, "one column, or two", columns.predicted))
    if asked.clip is not None and not asked.clip > 0:
        faults.append(bad_value("clip", owner, "a number above 0", asked.clip))
    if asked.reward_range is not None and not (
        len(asked.reward_range) == 2 and asked.reward_range[0] <= asked.reward_range[1]
    ):
        faults.append(bad_value("rewardRange", owner, "a pair (least, largest)", asked.reward_range))
    if asked.unlogged not in ("error", "warn"):
        faults.append(bad_value("unloggedActions", owner, "'error' or 'warn'", asked.unlogged))
    bad_costs = {a: c for a, c in (columns.costs or {}).items() if not (math.isfinite(c) and c >= 0)}
    if bad_costs:
        faults.append(bad_value("costs", owner, "finite numbers of at least 0", bad_costs))
    dependent = columns.weight or columns.cluster
    if "empirical_bernstein" in asked.intervals and dependent:
        faults.append(
            bad_value(
                "interval",
                owner,
                f"'normal' or 'bootstrap' with the column '{dependent}': empirical Bernstein is for independent "
                "rows of equal weight",
                "empirical_bernstein",
            )
        )
    return faults


def _check(
    df: DataFrame,
    columns: PolicyColumns,
    asked: PolicyQuestion,
    seen: dict[str, Any],
    logged: list[str] | None,
) -> dict[str, str]:
    """Return notes on policies that take unlogged actions; raise for everything that is wrong."""
    if not seen["n"]:
        raise no_rows()
    predicted = " and ".join(f"'{name}'" for name in columns.predictions)
    checks = [
        ("bad_action", f"'{columns.action}'", "actions are null"),
        ("bad_r", f"'{columns.reward}'", "rewards are null, NaN or infinite"),
        ("bad_w", f"'{columns.weight}'", "weights are null, NaN or infinite"),
        ("negative_w", f"'{columns.weight}'", "weights are negative"),
        ("bad_e", f"'{columns.propensity}'", "logged propensities are null, NaN or outside (0, 1]"),
        ("bad_q", predicted, "predicted rewards of the logged action are missing, NaN or infinite"),
    ]
    for j, name in enumerate(columns.policies.values()):
        missing = "policies are null or NaN, or of another length than actions="
        checks += [
            (f"bad_p{j}", f"'{name}'", missing),
            (f"outside_p{j}", f"'{name}'", "rows have probabilities outside [0, 1]"),
        ]
        if not seen[f"bad_p{j}"]:
            checks.append(
                (
                    f"bad_v{j}",
                    predicted,
                    f"rows lack the predicted reward of an action of the policy '{name}'",
                )
            )
    faults = [f"Column {where}: {seen[key]} {text}." for key, where, text in checks if seen[key]]
    if columns.weight is not None and not seen["bad_w"] and seen["w"] == 0:
        faults.append(f"Column '{columns.weight}': all weights are 0.")
    notes: dict[str, str] = {}
    for j, (policy, name) in enumerate(columns.policies.items()):
        off = seen[f"sum{j}"]
        if off is not None and off > asked.tolerance and not seen[f"bad_p{j}"]:
            faults.append(
                f"Column '{name}': the policy's probabilities of a row must add up to 1. Got sums that are up to "
                f"{off:.4g} off. Hint: leave no action out, or raise tolerance= (now {asked.tolerance:g})."
            )
        if seen[f"unlogged{j}"] and not seen[f"bad_p{j}"] and logged is not None:
            names = unlogged_names(df, columns, policy, logged)
            count = seen[f"unlogged{j}"]
            text = f"In {count} rows the policy '{policy}' takes actions that were never logged: {names}."
            if asked.unlogged == "error" and set(asked.methods) != {"dm"}:
                faults.append(
                    f"Column '{name}': {text} The data say nothing about them. Logged actions: {logged[:20]}. Hint: "
                    "compare spelling, or pass unloggedActions='warn'."
                )
            else:
                notes[policy] = text
    if faults:
        raise DataError(faults)
    return notes
