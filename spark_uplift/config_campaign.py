"""The configuration of a personalization test: who can be sent what, how large the test is, and what follows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spark_uplift.config import ChecksConfig, ForestConfig, SparkConfig
from spark_uplift.config_base import Arm, Name, Names, Section, Share, arm_text
from spark_uplift.config_economics import EconomicsConfig
from spark_uplift.config_faults import RuleError
from spark_uplift.config_loading import Rules, Whole, load, parse

__all__ = ["CampaignConfig", "OutcomesConfig", "load_campaign", "parse_campaign"]

Format = Literal["parquet", "delta", "csv"]
Arms = Annotated[tuple[Arm, ...], Field(strict=False)]
Part = Annotated[float, Field(ge=0, lt=1)]


class RecipientsConfig(Section):
    """The recipients, one row each, with what is known of them before anything is sent."""

    path: Name | None = Field(None, description="Files to read, as a path or URI.")
    table: Name | None = Field(None, description="A table of the session's catalog.")
    format: Format = Field("parquet", description="Format of the files.")
    id: Name = Field(description="Column that identifies a recipient.")
    features: Names | None = Field(None, description="Feature columns; null takes all but the id.")
    categorical: Names = Field((), description="Features to treat as categories; text always is.")
    strata: Names = Field((), description="Columns within whose groups the arms of the test are balanced.")
    where: Name | None = Field(
        None, description="SQL condition of those who may be sent anything, e.g. NOT unsubscribed."
    )


class DrawConfig(Section):
    """How large the test is: a share, or what a power calculation asks for."""

    share: Share | None = Field(
        None, description="Share of the recipients in the test; null: from `minimum_effect`."
    )
    minimum_effect: float | None = Field(
        None, gt=0, description="Smallest difference between two arms that must be found [outcome]."
    )
    baseline: float | None = Field(None, description="Mean outcome to expect without a send [outcome].")
    spread: float | None = Field(
        None, gt=0, description="Standard deviation of the outcome; null takes that of a yes or no."
    )
    power: Share = Field(0.8, description="Probability of finding an effect of that size.")
    alpha: Share = Field(
        0.05, description="Two-sided level, divided over the comparisons with the first arm."
    )
    shares: dict[Arm, Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        None, description="Share of each arm within the test; null: all alike."
    )


class OutcomesConfig(Section):
    """What came of a send: rows with a recipient's id and an outcome."""

    path: Name | None = Field(None, description="Files to read, as a path or URI.")
    table: Name | None = Field(None, description="A table of the session's catalog.")
    format: Format = Field("parquet", description="Format of the files.")
    id: Name | None = Field(None, description="Column with the recipient's id; null: as in `recipients`.")
    column: Name = Field(description="Column that holds the outcome.")
    unit: Name | None = Field(None, description="What the outcome counts, a plural noun, e.g. visits.")
    missing: Literal["zero", "drop"] = Field(
        "zero", description="What a recipient without a row did: nothing (zero), or unknown (drop)."
    )
    combine: Literal["one", "sum", "max"] = Field(
        "one", description="Several rows of a recipient: refused (one), added up, or the largest taken."
    )


class LearnConfig(Section):
    """How the model is chosen."""

    candidates: Annotated[tuple[dict[str, Any], ...], Field(strict=False, min_length=1)] = Field(
        ({"criterion": "gradient"}, {"criterion": "gradient", "shrinkage": 2000.0}, {"criterion": "ed"}),
        description="Settings of `forest` to try, each a mapping.",
    )
    folds: int = Field(5, ge=2, le=20, description="Folds; models of a fold are fitted on all earlier ones.")
    level: Share = Field(0.95, description="Coverage of the intervals.")


class SendConfig(Section):
    """Who is kept out of the personalised send, so that its gain can be measured."""

    no_send: Part = Field(0.05, description="Share of the remaining recipients that is sent nothing.")
    single: Part = Field(0.05, description="Share that is sent the best single variation.")


class PageConfig(Section):
    """Where the page goes."""

    path: Name | None = Field(None, description="HTML file; null writes <warehouse>/<name>.html.")


class CampaignConfig(Whole):
    """The whole configuration of a personalization test."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="Name of the campaign.",
        json_schema_extra={
            "expected": "up to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
        },
    )
    seed: int = Field(1, ge=0, lt=2**63, description="All randomness derives from it.")
    warehouse: Name = Field(description="Folder or URI under which every table lies.")
    recipients: RecipientsConfig
    variations: Annotated[tuple[Arm, ...], Field(strict=False, min_length=1)] = Field(
        description="What can be sent, two or more names (one, if the test has a group without a send)."
    )
    no_send: Arm = Field("no send", description="Name of the arm that is sent nothing.")
    test_no_send: bool = Field(True, description="Whether a group of the test is sent nothing.")
    test: DrawConfig
    outcomes: OutcomesConfig | None = Field(None, description="Outcomes of the test, for `learn`.")
    sent_outcomes: OutcomesConfig | None = Field(None, description="Outcomes of the send, for `measure`.")
    economics: EconomicsConfig = EconomicsConfig()
    checks: ChecksConfig = ChecksConfig()
    forest: ForestConfig = ForestConfig()
    learn: LearnConfig = LearnConfig()
    send: SendConfig = SendConfig()
    page: PageConfig = PageConfig()
    spark: SparkConfig = SparkConfig()

    @model_validator(mode="after")
    def _rules(self) -> CampaignConfig:
        faults = campaign_faults(self.model_dump())
        if faults:
            raise RuleError(faults)
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms of the test, the one that the others are compared with first."""
        return (self.no_send, *self.variations) if self.test_no_send else self.variations

    @property
    def shares(self) -> dict[str, float]:
        """Share of each arm within the test."""
        if self.test.shares is not None:
            return {arm: self.test.shares[arm] for arm in self.arms}
        return dict.fromkeys(self.arms, 1.0 / len(self.arms))

    @property
    def campaign_id(self) -> str:
        """Name and a hash of what the draw of the test hangs on: later steps may change the other settings."""
        drawn = {"name", "seed", "recipients", "variations", "no_send", "test_no_send", "test"}
        values = self.model_dump(mode="json", include=drawn)
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def campaign_faults(values: Mapping[str, Any]) -> list[str]:
    """Return what several keys get wrong together; values may be missing or ill-typed."""
    faults = []
    for section in ("recipients", "outcomes", "sent_outcomes"):
        part = values.get(section)
        given = [key for key in ("path", "table") if isinstance(part, Mapping) and part.get(key) is not None]
        if isinstance(part, Mapping) and len(given) != 1:
            got = " and ".join(given) or "neither"
            faults.append(f"The section '{section}' must have either path or table. Got {got} instead.")
    variations = values.get("variations")
    if not isinstance(variations, (list, tuple)):
        return faults
    names = [str(arm_text(arm)) for arm in variations]
    without = values.get("test_no_send", True) is True
    arms = [str(values.get("no_send", "no send")), *names] if without else names
    if len(set(arms)) != len(arms) or len(arms) < 2:
        faults.append(
            "The 'variations' parameter of the configuration must make two or more different arms with 'no_send' "
            f"(test_no_send: {str(without).lower()}). Got the arms {arms} instead."
        )
    return faults + _test_faults(values.get("test"), arms) + _share_faults(values, arms)


def _test_faults(test: Any, arms: Sequence[str]) -> list[str]:
    if not isinstance(test, Mapping):
        return []
    faults = []
    if test.get("share") is None and test.get("minimum_effect") is None:
        faults.append(
            "The section 'test' must have a share, or a minimum_effect for the power calculation. Got neither instead."
        )
    if test.get("share") is None and test.get("minimum_effect") is not None and test.get("spread") is None:
        baseline = test.get("baseline")
        if not isinstance(baseline, (int, float)) or not 0 < baseline < 1:
            faults.append(
                "The 'test.baseline' parameter of the configuration must be the share, in (0, 1), of recipients with "
                f"the outcome. Got {baseline!r} instead. Hint: for an outcome that is not yes or no, give test.spread."
            )
    shares = test.get("shares")
    if isinstance(shares, Mapping):
        numbers = [share for share in shares.values() if isinstance(share, (int, float))]
        named = sorted(str(arm_text(arm)) for arm in shares)
        if named != sorted(arms) or abs(sum(numbers) - 1) > 1e-6:
            faults.append(
                f"The 'test.shares' parameter of the configuration must be shares of the arms {list(arms)} that add "
                f"to 1. Got {dict(shares)!r} instead."
            )
    return faults


def _share_faults(values: Mapping[str, Any], arms: Sequence[str]) -> list[str]:
    faults = []
    send = values.get("send")
    if isinstance(send, Mapping):
        kept = [send.get("no_send", 0.05), send.get("single", 0.05)]
        if all(isinstance(share, (int, float)) for share in kept) and sum(kept) >= 1:
            faults.append(
                "The shares send.no_send and send.single must leave recipients for the personalised send, so add to "
                f"less than 1. Got {sum(kept):g} instead."
            )
    economics = values.get("economics")
    costs = economics.get("costs") if isinstance(economics, Mapping) else None
    if isinstance(costs, Mapping):
        known = [*arms, str(values.get("no_send", "no send"))]
        strangers = [str(arm) for arm in costs if str(arm_text(arm)) not in known]
        if strangers:
            faults.append(
                f"The 'economics.costs' parameter of the configuration must name arms among {known}. "
                f"Got {strangers} instead."
            )
    return faults


_RULES: Rules = {"": campaign_faults}


def parse_campaign(values: Mapping[str, Any]) -> CampaignConfig:
    """Validate a campaign's configuration that is already a mapping.

    Raises
    ------
    ConfigError
        With every fault.
    """
    return parse(values, CampaignConfig, _RULES)


def load_campaign(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> CampaignConfig:
    """Read a campaign's YAML file; see `spark_uplift.load_config`.

    Raises
    ------
    ConfigError
        With every fault of the file, the environment, the overrides and the values.
    """
    return load(path, overrides, environ, CampaignConfig, _RULES)
