"""How many units a test needs to find an effect of a given size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_effectsize

from spark_uplift.errors import DataError, bad_value

__all__ = ["Design"]


@dataclass(frozen=True)
class Design:
    """What a test of one arm against each of the others must be able to find.

    Parameters
    ----------
    shares : mapping of str to float
        Share of each arm within the test; the first is the one that the others are compared with.
    spread : float or None
        Standard deviation of the outcome; None for an outcome of 0 and 1.
    baseline : float or None
        Mean of an outcome of 0 and 1 in the first arm.
    power, alpha : float
        Probability of finding the effect; two-sided level, divided over the comparisons (Bonferroni).
    """

    shares: Mapping[str, float]
    spread: float | None = None
    baseline: float | None = None
    power: float = 0.8
    alpha: float = 0.05

    def units(self, effect: float) -> int:
        """Return how many units the whole test needs.

        Two-sided z-test of two means, or of two shares on Cohen's arcsine scale h (Cohen 1988, ch. 2 and 6).

        Parameters
        ----------
        effect : float
            Smallest difference that must be found, in the outcome's unit.

        Raises
        ------
        DataError
            The baseline and the effect do not make a share in (0, 1).
        """
        size = self._standardised(effect)
        needed = 0.0
        for share in self._others():
            first = NormalIndPower().solve_power(
                effect_size=size, power=self.power, alpha=self._level(), ratio=share / self._first()
            )
            needed = max(needed, first / self._first())
        return math.ceil(needed)

    def smallest_effect(self, units: int) -> float:
        """Return the smallest effect that a test of so many units finds, in the outcome's unit."""
        size = max(
            NormalIndPower().solve_power(
                nobs1=max(units * self._first(), 2.0),
                power=self.power,
                alpha=self._level(),
                ratio=share / self._first(),
            )
            for share in self._others()
        )
        if self.spread is not None:
            return float(size * self.spread)
        baseline = self._share()
        angle = min(size + 2.0 * math.asin(math.sqrt(baseline)), math.pi)
        return math.sin(angle / 2.0) ** 2 - baseline

    def _standardised(self, effect: float) -> float:
        if self.spread is not None:
            return effect / self.spread
        baseline = self._share()
        if not 0.0 < baseline + effect < 1.0:
            raise DataError(
                bad_value(
                    "minimum_effect",
                    "the test",
                    f"a difference that keeps the share {baseline:g} below 1",
                    effect,
                    "a share is a number between 0 and 1, not percent",
                )
            )
        return abs(float(proportion_effectsize(baseline + effect, baseline)))

    def _share(self) -> float:
        if self.baseline is None or not 0.0 < self.baseline < 1.0:
            raise DataError(bad_value("baseline", "the test", "a share in (0, 1)", self.baseline))
        return self.baseline

    def _first(self) -> float:
        return next(iter(self.shares.values()))

    def _others(self) -> list[float]:
        return list(self.shares.values())[1:]

    def _level(self) -> float:
        return self.alpha / (len(self.shares) - 1)
