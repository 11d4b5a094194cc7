"""The section ``decide``: limits and rules under which recipients get their arms."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spark_uplift.config_base import Arm, Name, Names, Section

__all__ = ["BudgetConfig", "CapacityConfig", "DecideConfig"]

Limit = Annotated[float, Field(ge=0)]
Arms = Annotated[tuple[Arm, ...], Field(strict=False, min_length=1)]


class BudgetConfig(Section):
    """What some treatments may cost in all."""

    name: Name = Field(description="Name of the budget.")
    limit: Limit = Field(description="Most that may be spent [money].")
    arms: Arms | None = Field(None, description="Treatments that it pays for; null: all.")


class CapacityConfig(Section):
    """How many units may get some treatments."""

    name: Name | None = Field(None, description="Name of the capacity; null makes one of arms and segment.")
    limit: Limit = Field(description="Most units.")
    arms: Arms | None = Field(None, description="Treatments that use it; null: all.")
    segment: Names | None = Field(None, description="Values of `decide.segment` that it counts; null: all.")


class DecideConfig(Section):
    """Who gets what: value and costs are those of ``economics``."""

    budgets: Annotated[tuple[BudgetConfig, ...], Field(strict=False)] = Field(
        (), description="Budgets, each a mapping of name, limit and arms."
    )
    capacities: Annotated[tuple[CapacityConfig, ...], Field(strict=False)] = Field(
        (), description="Capacities, each a mapping of name, limit, arms and segment."
    )
    segment: Name | None = Field(None, description="Column of the list whose values are segments.")
    minimum_gain: float = Field(0.0, ge=0, description="Net value under which nobody is contacted [money].")
    exclusions: dict[Arm, Names] = Field(
        default_factory=dict,
        description="SQL expressions of the list's columns, by treatment or '*'; where one is true it is not given.",
    )
    cost_columns: dict[Arm, Name] = Field(
        default_factory=dict, description="Column of the list with a treatment's cost for each unit [money]."
    )
    explore: float = Field(0.0, ge=0, lt=1, description="Share of the units that get a drawn arm, to learn.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Of ties and exploration; null: the run's.")
