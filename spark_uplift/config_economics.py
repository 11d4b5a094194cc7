"""What an outcome is worth, and what a treatment costs: the one place that every decision takes them from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spark_uplift.config_base import Arm, Name, Section

__all__ = ["EconomicsConfig"]


class EconomicsConfig(Section):
    """Money: of an outcome and of a treatment."""

    value: float = Field(1.0, gt=0, description="What one unit of the outcome is worth [money].")
    costs: dict[Arm, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="Cost of giving a unit the arm [money]; arms left out cost nothing."
    )
    currency: Name | None = Field(None, description="Unit of money for texts, e.g. EUR; null says nothing.")
