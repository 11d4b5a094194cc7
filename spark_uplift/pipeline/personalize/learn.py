"""The step ``personalize learn``: does it pay to give each recipient his own variation, and by which model?"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.errors import ConfigError, nearest
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.personalize.context import CampaignContext, fraction
from spark_uplift.pipeline.policy import best_arm
from spark_uplift.pipeline.run import run_step, step_named
from spark_uplift.pipeline.segments import segments
from spark_uplift.pipeline.train import estimator, model_path, save, tree_rows
from spark_uplift.policy.choice import Choice, Estimate, FoldSums, choose
from spark_uplift.spark.keep import kept
from spark_uplift.spark.nuisance import doubly_robust
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

JOB = "personalize learn"
PERSONALISED, SINGLE = "personalised", "single"
_EXACT = "decimal(28, 9)"  # sums of these do not depend on the order of the rows
_EXACT_SQUARE = "decimal(38, 9)"


def learn(context: CampaignContext) -> dict[str, str]:
    """Check the test, choose a model by cross-validated value, and decide whether it is worth sending by it.

    Writes ``check_results``, ``training_view``, ``quarantine``, ``campaign_values``, ``segments``, the model and its
    ``model_trees``. The scores are doubly robust, cross-fitted by the same kind of folds.

    Raises
    ------
    CheckFailedError
        The test is not sound.
    TableError
        The test has not been started.
    DataError, ColumnNotFoundError
        Outcomes that can't be used.
    """
    with recorded(context, JOB) as record:
        begun = context.need("start")
        candidates = _candidates(context)
        for name in ("check", "prepare"):
            run_step(context, step_named(name))
        context.progress.step(JOB, f"{len(candidates)} candidates, {context.campaign.learn.folds} folds")
        rows = context.rows("training_view", "prepare").drop("run_id")
        with kept(_with_folds(context, rows)) as folded:
            with kept(_valued(context, folded, candidates)) as valued:
                sums = fold_sums(context, valued, len(candidates))
            choice = choose(sums, context.campaign.learn.level)
            model: UpliftForestModel = estimator(context, **candidates[choice.candidate]).fit(folded)
        model_id = f"{context.run_id}-{model.digest[:8]}"
        found = segments(context, model, model_id)
        facts = _facts(context, choice, model, model_id, begun)
        path = model_path(context, model_id)
        trees = context.spark.createDataFrame(tree_rows(model.forest, model_id))
        values = context.frame("campaign_values", value_rows(context, choice, candidates, int(sums.n.sum())))
        side_by_side(
            lambda: save(model, path),
            lambda: context.write(trees, "model_trees", model_id=model_id),
            lambda: context.write(context.frame("segments", found), "segments", run_id=context.run_id),
            lambda: context.write(values, "campaign_values", run_id=context.run_id),
        )
        record.digest = model.digest
        record.inputs["outcomes"] = context.source.version
        record.outputs = {"model": path, "model_id": model_id}
        record.rows_in = int(sums.n.sum())
        record.message = _told(context, choice)
        context.remember("learn", facts, record.message)
    return facts


def _candidates(context: CampaignContext) -> list[dict[str, Any]]:
    """Return the candidates' settings.

    Raises
    ------
    ConfigError
        A candidate has a setting that the section 'forest' does not have, or a value that it refuses.
    """
    section = type(context.campaign.forest)
    faults, found = [], []
    for number, settings in enumerate(context.campaign.learn.candidates, start=1):
        unknown = [name for name in settings if name not in section.model_fields]
        for name in unknown:
            near = nearest(name, section.model_fields)
            hint = f" Hint: did you mean {near!r}?" if near else ""
            faults.append(f"Candidate {number} of 'learn.candidates' has the unknown setting {name!r}.{hint}")
        if not unknown:
            try:
                section.model_validate({**context.campaign.forest.model_dump(), **settings})
            except ValueError as error:
                faults.append(f"Candidate {number} of 'learn.candidates': {_first_fault(error)}")
            found.append(dict(settings))
    if faults:
        raise ConfigError(faults)
    return found


def _first_fault(error: ValueError) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[1:3])


def _with_folds(context: CampaignContext, rows: DataFrame) -> DataFrame:
    """Return the rows with ``fold`` and the doubly robust score of each arm, the first arm's first."""
    from pyspark.sql import functions as F

    source, folds = context.source, context.campaign.learn.folds
    fold = F.floor(fraction(context, "fold") * F.lit(folds)).cast("int")
    scored = doubly_robust(
        rows,
        treatmentCol="arm",
        controlName=source.control,
        labelCol="outcome",
        featureCols=list(source.features),
        categoricalCols=sorted(source.categorical),
        treatmentNames=sorted(context.campaign.arms[1:]),
        propensityCol="propensity",
        idCol="unit_id",
        folds=folds,
        seed=context.campaign.seed,
    )
    return scored.withColumn("fold", fold).drop("propensities", "mu", "dr_score")


def arms_in_order(context: CampaignContext) -> list[str]:
    """Return the arms as codes count them: the one that the others are compared with, then the others, sorted."""
    return [context.campaign.arms[0], *sorted(context.campaign.arms[1:])]


def net_score(context: CampaignContext, scores: str, arm: int) -> Column:
    """Return what an arm earns from a unit by its score: worth of the outcome, less the arm's cost [money]."""
    from pyspark.sql import functions as F

    money = context.campaign.economics
    cost = money.costs.get(arms_in_order(context)[arm], 0.0)
    return F.get(F.col(scores), F.lit(arm)) * F.lit(money.value) - F.lit(cost)


def advised_arm(context: CampaignContext, uplift: str) -> Column:
    """Return the arm with the largest predicted net value; of equal ones the first in `arms_in_order`."""
    first, *others = arms_in_order(context)
    money = context.campaign.economics
    return best_arm(first, others, money.costs, money.value, uplift)


def _code(context: CampaignContext, arm: Column) -> Column:
    """Return the number of an arm in `arms_in_order`."""
    from pyspark.sql import functions as F

    names = F.array(*[F.lit(name) for name in arms_in_order(context)])
    return (F.array_position(names, arm) - 1).cast("int")


def _valued(context: CampaignContext, folded: DataFrame, candidates: list[dict[str, Any]]) -> DataFrame:
    """Return, for each unit, the scores of all arms, and each candidate's choice by models of earlier folds.

    Units of the first fold have no choices: nothing comes before them.
    """
    from pyspark.sql import functions as F

    arms, folds = arms_in_order(context), context.campaign.learn.folds
    parts = []
    done = 0
    started = time.monotonic()
    for fold in range(folds):
        seen, unseen = folded.where(F.col("fold") < fold), folded.where(F.col("fold") == fold)
        for number, settings in enumerate(candidates if fold else []):
            learner = estimator(context, **settings).setParams(
                upliftCol=f"__u{number}", recommendedCol=f"__r{number}"
            )
            unseen = learner.fit(seen).transform(unseen)
            done += 1
            context.progress.advance(
                done, (folds - 1) * len(candidates), time.monotonic() - started, "models"
            )
        parts.append(
            unseen.select(
                "fold",
                *(net_score(context, "dr_value", a).alias(f"a{a}") for a in range(len(arms))),
                *(
                    (_code(context, advised_arm(context, f"__u{c}")) if fold else F.lit(0)).alias(f"c{c}")
                    for c in range(len(candidates))
                ),
            )
        )
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole


def fold_sums(context: CampaignContext, valued: DataFrame, candidates: int) -> FoldSums:
    """Return the sums that the choice is made from, exact for any order of the rows.

    Parameters
    ----------
    valued : DataFrame
        ``fold``, the arms' scores ``a0``, ``a1``, …, and the candidates' choices ``c0``, ….
    candidates : int
        How many.
    """
    from pyspark.sql import functions as F

    arms, folds = len(context.campaign.arms), context.campaign.learn.folds
    scores = [F.col(f"a{a}") for a in range(arms)]

    def chosen(c: int) -> Column:
        return F.get(F.array(*scores), F.col(f"c{c}"))

    def total(value: Column, name: str) -> list[Column]:
        return [
            F.sum(value.cast(_EXACT)).cast("double").alias(name),
            F.sum((value * value).cast(_EXACT_SQUARE)).cast("double").alias(f"{name}_sq"),
        ]

    sums = [F.count("*").cast("double").alias("n")]
    for a in range(arms):
        sums += total(scores[a], f"a{a}")
    for c in range(candidates):
        sums += total(chosen(c), f"c{c}")
        sums += [column for a in range(arms) for column in total(chosen(c) - scores[a], f"c{c}a{a}")]
    rows = {row["fold"]: row for row in valued.groupBy("fold").agg(*sums).collect()}
    there = [rows[fold] for fold in range(folds) if fold in rows]

    def table(suffix: str, names: list[str]) -> Any:
        return np.array([[row[f"{name}{suffix}"] for name in names] for row in there])

    a_names, c_names = [f"a{a}" for a in range(arms)], [f"c{c}" for c in range(candidates)]
    pairs = [f"c{c}a{a}" for c in range(candidates) for a in range(arms)]
    return FoldSums(
        n=table("", ["n"])[:, 0],
        candidates=table("", c_names),
        candidates_sq=table("_sq", c_names),
        arms=table("", a_names),
        arms_sq=table("_sq", a_names),
        pairs_sq=table("_sq", pairs).reshape(len(there), candidates, arms),
    )


def value_rows(
    context: CampaignContext, choice: Choice, candidates: list[dict[str, Any]], n: int
) -> list[dict[str, Any]]:
    """Return the rows of ``campaign_values``."""
    best = f"all: {arms_in_order(context)[choice.arm]}"

    def row(
        policy: str, value: Estimate, gain: Estimate | None, against: str | None, **more: Any
    ) -> dict[str, Any]:
        compared: dict[str, Any] = {"against": None}
        if gain is not None:
            compared = {
                "against": against,
                "difference": gain.value,
                "difference_lower": gain.lower,
                "difference_upper": gain.upper,
                "p_value": gain.p_value,
            }
        fixed = {"run_id": context.run_id, "policy": policy, "level": context.campaign.learn.level, "n": n}
        ends = {
            "value": value.value,
            "std_error": value.std_error,
            "lower": value.lower,
            "upper": value.upper,
        }
        return {**fixed, **ends, **compared, "settings": None, "chosen": False, **more}

    lines = [
        row(PERSONALISED, choice.personalised, choice.gain, SINGLE, chosen=choice.personalise),
        row(SINGLE, choice.single, None, None, chosen=not choice.personalise),
    ]
    for number, (settings, value, gain) in enumerate(
        zip(candidates, choice.candidates, choice.gains, strict=True), start=1
    ):
        text = json.dumps(settings, sort_keys=True)
        picked = choice.personalise and number - 1 == choice.candidate
        lines.append(row(f"candidate {number}", value, gain, best, settings=text, chosen=picked))
    for code, (arm, value) in enumerate(zip(arms_in_order(context), choice.arms, strict=True)):
        picked = not choice.personalise and code == choice.arm
        lines.append(row(f"all: {arm}", value, None, None, chosen=picked))
    return lines


def _facts(
    context: CampaignContext, choice: Choice, model: UpliftForestModel, model_id: str, begun: dict[str, str]
) -> dict[str, str]:
    return {
        "decision": PERSONALISED if choice.personalise else SINGLE,
        "single": arms_in_order(context)[choice.arm],
        "candidate": json.dumps(dict(context.campaign.learn.candidates[choice.candidate]), sort_keys=True),
        "model_id": model_id,
        "digest": model.digest,
        "gain": repr(choice.gain.value),
        "gain_lower": repr(choice.gain.lower),
        "gain_upper": repr(choice.gain.upper),
        "outcome_kind": str(model.forest.training["outcome"]),
        "recipients_version": begun["recipients_version"],
    }


def _told(context: CampaignContext, choice: Choice) -> str:
    single, gain = arms_in_order(context)[choice.arm], choice.gain
    level = f"{context.campaign.learn.level:.0%}"
    money = context.campaign.economics.currency
    unit = f" {money}" if money else ""
    numbers = f"{gain.value:+.4g}{unit} a recipient ({level}: {gain.lower:+.4g} to {gain.upper:+.4g})"
    if choice.personalise:
        return f"personalise: {numbers} over the best single arm, {single!r}"
    return f"give everybody {single!r}: what personalisation gains over it is not proven, {numbers}"
