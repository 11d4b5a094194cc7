"""Numbers as plain text: per 1,000 units, percent, intervals.

Thousands are grouped by commas, a real minus sign is used, and a narrow no-break space keeps a number with
its percent sign. A missing number is an en dash, never "nan".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any

THIN = "\u202f"
"""Narrow no-break space: between a number and its percent sign."""

MINUS = "\u2212"
MISSING = "\u2013"
PER = 1000


def finite(value: Any) -> float | None:
    """The value as a float, or None when it is missing, not a number or infinite."""
    if value is None or isinstance(value, str):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def decimals_for(half_width: float | None, most: int = 6) -> int:
    """Decimals that show two significant digits of an uncertainty: fewer would hide it, more are noise."""
    if half_width is None or half_width <= 0:
        return 0
    return min(most, max(0, 1 - math.floor(math.log10(half_width))))


def plain(value: Any, decimals: int | None = None, *, sign: bool = False) -> str:
    """A number with grouped thousands.

    Parameters
    ----------
    value : float or None
    decimals : int, optional
        Digits after the point; without it, three significant digits (whole numbers keep all of theirs).
    sign : bool
        Put + before a positive number.
    """
    number = finite(value)
    if number is None:
        return MISSING
    digits = _decimals_of(number) if decimals is None else decimals
    text = f"{abs(number):,.{digits}f}"
    if not text.strip("0.,"):
        return text
    return (MINUS if number < 0 else "+" if sign else "") + text


def _decimals_of(number: float) -> int:
    if number == int(number) or abs(number) >= 100:
        return 0
    return min(8, 2 - math.floor(math.log10(abs(number))))


def count(value: Any) -> str:
    """A whole number with grouped thousands."""
    return plain(value, 0)


def percent(share: Any, decimals: int = 0) -> str:
    """A share of 0..1 as percent: 0.3 -> "30 %"; below the last digit shown, "< 1 %"."""
    number = finite(share)
    if number is None:
        return MISSING
    smallest = 10.0**-decimals
    if 0 < number * 100 < smallest / 2:
        return f"< {smallest:.{decimals}f}{THIN}%"
    return f"{plain(number * 100, decimals)}{THIN}%"


def interval(lower: Any, upper: Any, decimals: int | None = None) -> str:
    """Return "a to b", or "no interval" when a bound is missing."""
    if finite(lower) is None or finite(upper) is None:
        return "no interval"
    return f"{plain(lower, decimals)} to {plain(upper, decimals)}"


SMALLEST_P = 0.001


def p_value(value: Any) -> str:
    """A p-value with its sign of comparison: "= 0.032", "< 0.001"; empty when there is none."""
    number = finite(value)
    if number is None:
        return ""
    return f"< {SMALLEST_P:g}" if number < SMALLEST_P else f"= {number:.3f}"


def metric(value: Any) -> str:
    """A metric as it is compared with other packages': four significant digits."""
    number = finite(value)
    if number is None:
        return MISSING
    if number != 0 and not 1e-4 <= abs(number) < 1e6:
        return f"{number:.3e}".replace("-", MINUS)
    decimals = 0 if number == 0 else max(0, 3 - math.floor(math.log10(abs(number))))
    return plain(number, decimals)


def date(value: Any) -> str:
    """A timestamp to the minute; anything else as its own text."""
    if isinstance(value, datetime):
        zone = f" {value.tzname()}" if value.tzinfo else ""
        return f"{value:%Y-%m-%d %H:%M}{zone}"
    return MISSING if value is None else str(value)


def shorten(text: str, most: int = 28) -> str:
    """The text, or its beginning and an ellipsis when it is longer than ``most`` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "\u2026"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval, in outcome units per unit."""

    value: float | None
    lower: float | None = None
    upper: float | None = None

    @classmethod
    def of(cls, value: Any, lower: Any, upper: Any) -> Estimate:
        """An estimate from row values, with NaN and infinity taken as missing."""
        return cls(finite(value), finite(lower), finite(upper))

    @property
    def half_width(self) -> float | None:
        """Half the interval's width, or None without an interval."""
        if self.lower is None or self.upper is None:
            return None
        return (self.upper - self.lower) / 2

    def widened(self, level: float, candidates: int) -> Estimate:
        """The estimate with its normal interval widened for having been picked out of several (Bonferroni).

        Parameters
        ----------
        level : float
            Level of the interval as it is, 0..1; the widened one holds for all candidates together.
        candidates : int
        """
        if self.value is None or self.half_width is None:
            return self
        normal = NormalDist()
        as_is = normal.inv_cdf((1 + level) / 2)
        half = self.half_width * normal.inv_cdf(1 - (1 - level) / (2 * candidates)) / as_is
        return Estimate(self.value, self.value - half, self.value + half)

    @property
    def sign(self) -> int | None:
        """1 or -1: the whole interval lies on that side of 0. 0: it covers 0. None: no interval."""
        if self.lower is None or self.upper is None:
            return None
        return 1 if self.lower > 0 else -1 if self.upper < 0 else 0


@dataclass(frozen=True, slots=True)
class Scale:
    """How the outcome is shown: effects per 1,000 units, means as percent (binary) or plain numbers.

    Parameters
    ----------
    name : str
        The outcome column.
    kind : str
        "binary" or "continuous".
    unit : str
        Plural noun, e.g. "visits".
    level : float or None
        Level of the intervals, 0..1.
    """

    name: str
    kind: str
    unit: str
    level: float | None = None

    @property
    def effect_label(self) -> str:
        """Axis label of an effect."""
        return f"{self.unit} per 1,000 units"

    @property
    def interval_name(self) -> str:
        """Return "95 % interval", or "interval" when the level is not known."""
        return (
            "interval"
            if self.level is None
            else f"{percent(self.level, _level_decimals(self.level))} interval"
        )

    def decimals(self, estimates: Iterable[Estimate]) -> int:
        """Decimals for a column of effects: from the median half-width, so that the column lines up."""
        widths = sorted(e.half_width for e in estimates if e.half_width)
        if not widths:
            return 1
        return decimals_for(widths[len(widths) // 2] * PER, most=4)

    def effect(self, value: Any, decimals: int | None = None) -> str:
        """An effect per 1,000 units, signed."""
        number = finite(value)
        return MISSING if number is None else plain(number * PER, decimals, sign=True)

    def effect_interval(self, estimate: Estimate, decimals: int | None = None) -> str:
        """The interval of an effect per 1,000 units."""
        if estimate.lower is None or estimate.upper is None:
            return "no interval"
        return interval(estimate.lower * PER, estimate.upper * PER, decimals)

    def effect_text(self, estimate: Estimate, decimals: int | None = None) -> str:
        """Return "+x (a to b)", per 1,000 units."""
        return f"{self.effect(estimate.value, decimals)} ({self.effect_interval(estimate, decimals)})"

    def mean(self, value: Any) -> str:
        """An arm's mean outcome: percent when binary, else outcome units per unit."""
        return percent(value, 2) if self.kind == "binary" else plain(value)


def _level_decimals(level: float) -> int:
    return 0 if abs(level * 100 - round(level * 100)) < 1e-9 else 1
