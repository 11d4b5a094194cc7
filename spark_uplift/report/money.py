"""Amounts of money as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_uplift.report.format import MISSING, Scale, finite, plain


@dataclass(frozen=True, slots=True)
class Money:
    """How money is written.

    Parameters
    ----------
    currency : str or None
        Unit of money, e.g. EUR; without it the unit is called "money".
    """

    currency: str | None = None

    @classmethod
    def of(cls, economics: Mapping[str, Any]) -> Money:
        """The currency of the page's economics."""
        return cls(str(economics["currency"]) if economics.get("currency") else None)

    @property
    def unit(self) -> str:
        """Name of the unit of money."""
        return self.currency or "money"

    def amount(self, value: Any, *, sign: bool = False) -> str:
        """An amount: whole from 100 on, three significant digits below."""
        number = finite(value)
        if number is None:
            return MISSING
        return plain(number, 0 if abs(number) >= 100 else None, sign=sign)

    def text(self, value: Any, *, sign: bool = False) -> str:
        """An amount with its currency."""
        return f"{self.amount(value, sign=sign)}{f' {self.currency}' if self.currency else ''}"

    @classmethod
    def per_thousand(cls, economics: Mapping[str, Any], scale: Scale) -> str:
        """Label of net values per 1,000 units; those of the outcome where money is not told from it."""
        costs = economics.get("costs") or {}
        alike = finite(economics.get("value")) in (None, 1.0) and not any(
            finite(cost) for cost in costs.values()
        )
        if not economics.get("currency") and alike:
            return scale.effect_label
        return f"{cls.of(economics).unit} per 1,000 units"
