"""What every section of the configuration is made of: the strict frozen model, and the kinds of values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Arm", "Name", "Names", "PositiveInt", "Section", "Share", "SparkValue", "arm_text"]


def arm_text(value: object) -> object:
    """Whole numbers are fine names of arms; other numbers would depend on how they are written out."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _spark_value(value: object) -> object:
    """Spark settings are text; YAML reads some of them as numbers and booleans."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


Arm = Annotated[str, BeforeValidator(arm_text), Field(min_length=1)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
SparkValue = Annotated[str, BeforeValidator(_spark_value)]


class Section(BaseModel):
    """A part of the configuration: frozen, and no key or type but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
