"""The configuration of a run: a YAML file, environment variables and ``--set`` options, validated once.

Sections are frozen models; constraints stand on the fields, and no other module checks a configured value.
All faults are reported together in one :class:`~spark_uplift.errors.ConfigError`, with the nearest name
for unknown keys. Later sources win: file, then ``SPARK_UPLIFT__SECTION__KEY``, then ``--set
section.key=value``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from spark_uplift.config_base import Arm, Name, Names, PositiveInt, Section, Share, SparkValue, arm_text
from spark_uplift.config_decide import DecideConfig
from spark_uplift.config_economics import EconomicsConfig
from spark_uplift.config_faults import RuleError
from spark_uplift.config_loading import Rules, Whole, load, parse

__all__ = [
    "ChecksConfig",
    "DecideConfig",
    "EconomicsConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "ForestConfig",
    "MlflowConfig",
    "ReportConfig",
    "RunConfig",
    "ScoreConfig",
    "SparkConfig",
    "SplitConfig",
    "json_schema",
    "load_config",
    "parse_config",
]


def _subset(value: str | int | float) -> str | int | float:
    if isinstance(value, str):
        if value not in ("auto", "all", "sqrt", "onethird"):
            raise ValueError
    elif value <= 0 or (isinstance(value, float) and value > 1):
        raise ValueError
    return value


def experiment_faults(values: Mapping[str, Any]) -> list[str]:
    """Return what several keys of ``experiment`` get wrong together; values may be missing or ill-typed."""
    faults = []
    given = [key for key in ("dataset", "path", "table") if values.get(key) is not None]
    if len(given) != 1:
        faults.append(
            "The experiment must have exactly one of dataset, path and table. "
            f"Got {' and '.join(given) if given else 'none of them'} instead."
        )
    control, arms, shares = arm_text(values.get("control")), values.get("arms"), values.get("shares")
    if isinstance(arms, (list, tuple)):
        names = [arm_text(arm) for arm in arms]
        if len(set(map(str, names))) != len(names) or len(names) < 2 or (control and control not in names):
            faults.append(
                "The 'experiment.arms' parameter of the configuration must be two or more different arms, "
                f"the control {control!r} among them. Got {names!r} instead."
            )
    if isinstance(shares, Mapping) and all(isinstance(share, (int, float)) for share in shares.values()):
        total = sum(shares.values())
        if abs(total - 1) > 1e-6 or (control and control not in [arm_text(arm) for arm in shares]):
            faults.append(
                "The 'experiment.shares' parameter of the configuration must be shares that add to 1, "
                f"that of the control {control!r} among them. Got {dict(shares)!r} instead, which add to "
                f"{total:g}."
            )
    return faults


def score_faults(values: Mapping[str, Any]) -> list[str]:
    """Return what several keys of ``score`` get wrong together."""
    if values.get("path") is not None and values.get("table") is not None:
        return ["The score section must have at most one of path and table. Got both instead."]
    return []


class ExperimentConfig(Section):
    """Where the experiment lies, and what its columns mean."""

    dataset: Literal["randhie", "hillstrom"] | None = Field(None, description="A built-in dataset.")
    path: Name | None = Field(None, description="Files to read, as a path or URI.")
    format: Literal["parquet", "delta", "csv"] = Field("parquet", description="Format of the files.")
    table: Name | None = Field(None, description="A table of the session's catalog.")
    id: Name | None = Field(None, description="Column that identifies a unit.")
    treatment: Name = Field(description="Column that holds the arm.")
    control: Arm = Field(description="Arm that the others are compared with.")
    arms: Annotated[tuple[Arm, ...], Field(strict=False)] | None = Field(
        None, description="Expected arms, control included; rows of others go to quarantine."
    )
    shares: dict[Arm, Annotated[float, Field(gt=0, le=1)]] | None = Field(
        None, description="Designed share of each arm, control included, for the sample-ratio check [0-1]."
    )
    outcome: Name = Field(description="Column that holds the outcome.")
    outcome_unit: Name | None = Field(
        None,
        description="What the outcome counts, a plural noun for reports, e.g. visits; null takes the column.",
    )
    features: Names | None = Field(
        None, description="Feature columns; null takes all that have no other role."
    )
    categorical: Names = Field((), description="Features to treat as categories; text always is.")
    weight: Name | None = Field(None, description="Column with a weight per row.")
    propensity: Name | None = Field(
        None, description="Column with the probability of the row's own arm [0-1]."
    )
    cluster: Name | None = Field(None, description="Column with the group that units belong to.")

    @model_validator(mode="after")
    def _rules(self) -> ExperimentConfig:
        faults = experiment_faults(self.model_dump())
        if faults:
            raise RuleError(faults)
        return self


class ChecksConfig(Section):
    """Where the experiment's checks turn."""

    srm_alpha: Share = Field(0.001, description="Sample ratios fail below this p-value.")
    max_quarantined_share: float = Field(0.05, ge=0, le=1, description="Share of unusable rows that fails.")
    arm_auc: float = Field(0.6, ge=0.5, le=1, description="AUC of a feature for the arm that fails.")
    max_missing_share: float = Field(0.95, ge=0, le=1, description="Share of missing values that warns.")
    warn_only: Names = Field((), description="Checks that warn where they would fail.")


class SplitConfig(Section):
    """How rows are divided, by a hash of the unit."""

    holdout: Share = Field(0.3, description="Share of units kept for evaluation.")


class ForestConfig(Section):
    """Parameters of ``UpliftForest``, under its own names and with its own defaults."""

    criterion: Literal[
        "kl", "ed", "chi", "cts", "ddp", "iddp", "it", "cit", "causal_mse", "gradient"
    ] = Field("gradient", description="Split criterion.")  # fmt: skip
    normalization: Literal["paper", "causalml", "none"] = Field(
        "paper", description="Normalisation of gains."
    )
    numTrees: int = Field(100, ge=1, le=10_000, description="Trees.")
    maxDepth: int = Field(7, ge=0, le=30, description="Edges from the root to the deepest leaf.")
    maxBins: int = Field(64, ge=2, le=254, description="Bins of a numeric feature.")
    minInstancesPerNode: PositiveInt = Field(200, description="Least rows of a node.")
    minInstancesPerArm: PositiveInt = Field(20, description="Least rows of each arm in a node.")
    nReg: float = Field(100.0, ge=0, description="Pseudo-rows at the parent's rates in split scores.")
    shrinkage: float = Field(
        500.0, ge=0, description="Effective rows by which a leaf leans on its parent's effect."
    )
    subsamplingRate: float = Field(1.0, gt=0, le=1, description="Share of the units that a tree sees.")
    bootstrap: bool = Field(True, description="Whether trees see Poisson bootstrap samples.")
    featureSubsetStrategy: Annotated[str | int | float, AfterValidator(_subset)] = Field(
        "auto", description="Features tried at a node.",
        json_schema_extra={"expected": "'auto', 'all', 'sqrt', 'onethird', a count or a share in (0, 1]"},
    )  # fmt: skip
    honest: bool = Field(False, description="Whether structure and effects come from different halves.")
    intervals: bool = Field(False, description="Whether predictions come with intervals.")
    intervalLevel: Share = Field(0.9, description="Coverage of the intervals.")
    strategy: Literal["auto", "tree_parallel", "data_parallel"] = Field(
        "auto", description="How training is divided; the forest is the same."
    )
    checkpointPath: str | None = Field(
        None, description="Folder or URI in which training keeps its state, to resume from."
    )


class EvaluationConfig(Section):
    """How the model is evaluated on the holdout."""

    bootstrap: int = Field(200, ge=0, le=10_000, description="Bootstrap replicates; 0 gives no intervals.")
    level: Share = Field(0.95, description="Coverage of the intervals.")
    buckets: int = Field(10, ge=2, le=100, description="Buckets of the uplift table.")
    intervals: Literal["poisson", "half_sample"] = Field(
        "poisson", description="How replicates count units: Poisson(1) times, or in or out by halves."
    )
    compare_to: Name | None = Field(
        None, description="Folder of another saved model to compare with on the same rows."
    )


class ScoreConfig(Section):
    """The units to score; without path and table the experiment's own."""

    path: Name | None = Field(None, description="Files to score.")
    table: Name | None = Field(None, description="A table to score.")
    format: Literal["parquet", "delta", "csv"] = Field("parquet", description="Format of the files.")

    @model_validator(mode="after")
    def _rules(self) -> ScoreConfig:
        faults = score_faults(self.model_dump())
        if faults:
            raise RuleError(faults)
        return self


class ReportConfig(Section):
    """Where the report goes."""

    path: Name | None = Field(None, description="HTML file; null writes <warehouse>/report.html.")
    views: Name | None = Field(
        None, description="Schema of the catalog that gets SQL views for dashboards; null makes none."
    )
    register_tables: bool = Field(
        False,
        description="Whether the views' tables are registered there too, for catalogs that govern by name.",
    )


class MlflowConfig(Section):
    """What MLflow keeps."""

    enabled: bool = Field(True, description="Whether the run is logged.")
    tracking_uri: Name | None = Field(
        None, description="Tracking server; null keeps sqlite in the warehouse."
    )
    experiment: Name = Field("spark_uplift", description="Experiment of the run.")
    model_name: Name | None = Field(None, description="Registered model; null takes the run's name.")
    alias: Name = Field("champion", description="Alias of the registered version.")


class SparkConfig(Section):
    """Settings of a new local session; an existing one is left as it is."""

    master: Name | None = Field(None, description="Spark master; null takes local[*].")
    conf: dict[str, SparkValue] = Field(default_factory=dict, description="Further Spark settings.")


class RunConfig(Whole):
    """The whole configuration."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="Name of the run.",
        json_schema_extra={
            "expected": "up to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
        },
    )
    seed: int = Field(1, ge=0, lt=2**63, description="All randomness derives from it.")
    warehouse: Name = Field(description="Folder or URI under which every table lies.")
    experiment: ExperimentConfig
    checks: ChecksConfig = ChecksConfig()
    split: SplitConfig = SplitConfig()
    forest: ForestConfig = ForestConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    economics: EconomicsConfig = EconomicsConfig()
    score: ScoreConfig = ScoreConfig()
    decide: DecideConfig | None = None
    report: ReportConfig = ReportConfig()
    mlflow: MlflowConfig = MlflowConfig()
    spark: SparkConfig = SparkConfig()

    def run_id(self, source_version: str, package_version: str | None = None) -> str:
        """Return the run's id; a re-run of the same configuration, rows and release has the same.

        Parameters
        ----------
        source_version : str
            Version or content hash of the experiment's rows.
        package_version : str, optional
            This release by default.
        """
        if package_version is None:
            from spark_uplift import __version__ as package_version
        parts = "\n".join([self.canonical_json(), source_version, str(package_version)])
        return f"{self.name}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


_RULES: Rules = {"experiment": experiment_faults, "score": score_faults}


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Validate a configuration that is already a mapping.

    Raises
    ------
    ConfigError
        With every fault.
    """
    return parse(values, RunConfig, _RULES)


def load_config(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> RunConfig:
    """Read a YAML file, apply environment variables and overrides, and validate the result.

    Parameters
    ----------
    path : str or Path
        YAML file.
    overrides : sequence of str
        ``"section.key=value"``, the value as in YAML.
    environ : mapping of str to str, optional
        Environment; the process's by default.

    Raises
    ------
    ConfigError
        With every fault of the file, the environment, the overrides and the values.

    Examples
    --------
    >>> load_config("conf/examples/randhie.yaml", ["forest.numTrees=20"]).forest.numTrees
    20
    """
    return load(path, overrides, environ, RunConfig, _RULES)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration, for editors and other tools."""
    return RunConfig.model_json_schema()
