"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def count(number: int) -> str:
    """Return a whole number with thousands separated."""
    return f"{number:,}"


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage with three significant digits.

    Examples
    --------
    >>> percent(0.5), percent(0.00123), percent(1.0)
    ('50 %', '0.123 %', '100 %')
    """
    return f"{100 * share:.3g} %"


def p_value(value: float) -> str:
    """Return a p-value with two significant digits; 1e-300 stands for all that is smaller."""
    return f"p = {value:.2g}" if value > 1e-300 else "p < 1e-300"


def listed(names: Iterable[object], most: int = 5) -> str:
    """Return quoted names; the rest beyond `most` is counted.

    Examples
    --------
    >>> listed("abc", most=2)
    "'a', 'b' and 1 more"
    """
    every = [repr(name) for name in names]
    shown = ", ".join(every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown
