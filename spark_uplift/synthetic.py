"""Experiments with known truth, for tests and benchmarks.

Every generator returns an :class:`Experiment`: features, arm and outcome as a data scientist would see
them, and the true effect and propensity of each unit, which nobody ever sees. The same arguments give the
same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_uplift.errors import DataError, bad_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Experiment", "categorical_segment", "criteo_like", "crossover", "multi_arm", "no_heterogeneity"]

Floats = NDArray[np.float64]
SEGMENT_LEVELS = ("amber", "blue", "coral", "denim", "ebony", "fawn", "gold", "hazel")
SEGMENT_TREATABLE = ("blue", "ebony", "gold")


@dataclass(frozen=True)
class Experiment:
    """A generated experiment of n units with K treatments.

    Parameters
    ----------
    features : ndarray of shape (n, F), dtype=float64
        Numeric features; NaN is a missing value.
    arm : ndarray of shape (n,), dtype=int8
        0 is control, 1 … K the treatments.
    outcome : ndarray of shape (n,), dtype=float64
        Observed outcome.
    tau : ndarray of shape (n, K), dtype=float64
        True effect of each treatment on each unit [unit of the outcome].
    propensity : ndarray of shape (n,), dtype=float64
        True probability of the arm that the unit got [0-1].
    arm_names : tuple of str
        Control first.
    categorical : dict of str to ndarray of shape (n,), dtype=object
        Features that are categories; None is a missing value.
    """

    features: Floats
    arm: NDArray[np.int8]
    outcome: Floats
    tau: Floats
    propensity: Floats
    arm_names: tuple[str, ...] = ("control", "treatment")
    categorical: dict[str, NDArray[np.object_]] = field(default_factory=dict)

    @property
    def feature_names(self) -> list[str]:
        """``f0`` …, then the categorical ones; the columns of `frame` in this order."""
        return [*(f"f{index}" for index in range(self.features.shape[1])), *self.categorical]

    def frame(self) -> pd.DataFrame:
        """Return the rows as pandas: ``id``, ``arm`` (names), ``outcome``, ``propensity``, features."""
        import pandas as pd

        columns: dict[str, object] = {
            "id": np.arange(len(self.arm), dtype=np.int64),
            "arm": np.array(self.arm_names, dtype=object)[self.arm],
            "outcome": self.outcome,
            "propensity": self.propensity,
        }
        columns |= {f"f{index}": self.features[:, index] for index in range(self.features.shape[1])}
        return pd.DataFrame(columns | self.categorical)


def criteo_like(n: int, seed: int = 1, features: int = 12, missing: float = 0.0) -> Experiment:
    """Return rows shaped like Criteo's uplift data: 85 % treated, a binary outcome of about 5 %.

    The effect, 0 to about 0.04, depends on three features, one of which drives the baseline as well.

    Parameters
    ----------
    n : int
        Rows.
    seed : int
        Seed.
    features : int
        Features, at least 4; those beyond are noise.
    missing : float
        Share of the values to erase [0-1).

    Raises
    ------
    DataError
        If an argument is out of range.
    """
    rng = _rng(n, seed, missing)
    if features < 4:
        raise DataError(bad_value("features", "criteo_like", "an int in the range [4, inf)", features))
    x = rng.standard_normal((n, features))
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]  # features of one user hang together
    baseline = _sigmoid(-3.9 + 0.8 * x[:, 0] + 0.6 * np.abs(x[:, 3]))
    tau = 0.04 * _sigmoid(2.0 * x[:, 1]) * _sigmoid(3.0 * (x[:, 2] + 0.3)) * _sigmoid(1.5 * x[:, 0])
    arm = _assign(rng, n, (0.15, 0.85))
    probability = np.clip(baseline + tau * arm, 0.0, 1.0)
    outcome = (rng.random(n) < probability).astype(np.float64)
    propensity = np.where(arm == 1, 0.85, 0.15)
    return Experiment(_erase(rng, x, missing), arm, outcome, tau[:, None], propensity)


def crossover(n: int, seed: int = 1, effect: float = 0.2, missing: float = 0.0) -> Experiment:
    """Return an experiment whose effect is +`effect` where ``f0`` > 0 and -`effect` elsewhere.

    The mean outcome, both arms together, is 0.5 everywhere and the average effect is 0: a split that looks
    at outcomes instead of effects finds nothing. ``f1`` and ``f2`` are noise.

    Parameters
    ----------
    n : int
        Rows.
    seed : int
        Seed.
    effect : float
        Size of the effect on a binary outcome [0-1].
    missing : float
        Share of the values to erase [0-1).
    """
    rng = _rng(n, seed, missing)
    x = rng.standard_normal((n, 3))
    tau = np.where(x[:, 0] > 0, effect, -effect)
    arm = _assign(rng, n, (0.5, 0.5))
    outcome = (rng.random(n) < 0.5 + tau * (arm - 0.5)).astype(np.float64)
    return Experiment(_erase(rng, x, missing), arm, outcome, tau[:, None], np.full(n, 0.5))


def categorical_segment(n: int, seed: int = 1, effect: float = 0.3, missing: float = 0.0) -> Experiment:
    """Return an experiment that works in three of eight categories alone, which are no neighbours by name.

    The feature ``segment`` holds `SEGMENT_LEVELS`; the effect is `effect` in `SEGMENT_TREATABLE` and 0
    elsewhere.

    Parameters
    ----------
    n : int
        Rows.
    seed : int
        Seed.
    effect : float
        Size of the effect on a binary outcome [0-1].
    missing : float
        Share of the values to erase, categories included [0-1).
    """
    rng = _rng(n, seed, missing)
    x = rng.standard_normal((n, 2))
    level = rng.integers(0, len(SEGMENT_LEVELS), n)
    segment = np.array(SEGMENT_LEVELS, dtype=object)[level]
    tau = np.where(np.isin(level, [SEGMENT_LEVELS.index(name) for name in SEGMENT_TREATABLE]), effect, 0.0)
    arm = _assign(rng, n, (0.5, 0.5))
    baseline = 0.3 + 0.1 * (level % 2)
    outcome = (rng.random(n) < baseline + tau * arm).astype(np.float64)
    x = _erase(rng, x, missing)
    segment[rng.random(n) < missing] = None
    return Experiment(x, arm, outcome, tau[:, None], np.full(n, 0.5), categorical={"segment": segment})


def multi_arm(n: int, seed: int = 1, arms: int = 3, missing: float = 0.0) -> Experiment:
    """Return an experiment with several treatments and a continuous outcome; each helps other units.

    Treatment k (from 1) adds 1 where ``f{k-1}`` > 0 and takes 0.5 elsewhere; control has half of the units.

    Parameters
    ----------
    n : int
        Rows.
    seed : int
        Seed.
    arms : int
        Treatments.
    missing : float
        Share of the values to erase [0-1).
    """
    rng = _rng(n, seed, missing)
    if arms < 1:
        raise DataError(bad_value("arms", "multi_arm", "an int in the range [1, inf)", arms))
    x = rng.standard_normal((n, arms + 2))
    tau = np.where(x[:, :arms] > 0, 1.0, -0.5)
    shares = (0.5, *[0.5 / arms] * arms)
    arm = _assign(rng, n, shares)
    effects = np.column_stack([np.zeros(n), tau])
    outcome = 10.0 + x[:, -1] + effects[np.arange(n), arm] + rng.standard_normal(n)
    names = ("control", *(f"treatment {index}" for index in range(1, arms + 1)))
    propensity = np.array(shares)[arm]
    return Experiment(_erase(rng, x, missing), arm, outcome, tau, propensity, arm_names=names)


def no_heterogeneity(
    n: int, seed: int = 1, control_share: float = 0.9, effect: float = 0.05, missing: float = 0.0
) -> Experiment:
    """Return an experiment with a strong baseline, unbalanced arms and the same effect for everybody.

    Predictions that follow the baseline ``f0`` are an artefact: with a rare arm, estimates that pull the
    arms' rates instead of the effect towards the mean turn into minus the baseline.

    Parameters
    ----------
    n : int
        Rows.
    seed : int
        Seed.
    control_share : float
        Share of control (0-1).
    effect : float
        Effect on everybody [0-1].
    missing : float
        Share of the values to erase [0-1).
    """
    rng = _rng(n, seed, missing)
    if not 0.0 < control_share < 1.0:
        raise DataError(
            bad_value("control_share", "no_heterogeneity", "a number in the range (0, 1)", control_share)
        )
    x = rng.standard_normal((n, 3))
    arm = _assign(rng, n, (control_share, 1.0 - control_share))
    baseline = 0.05 + 0.8 * _sigmoid(2.0 * x[:, 0])
    outcome = (rng.random(n) < baseline + effect * arm).astype(np.float64)
    propensity = np.where(arm == 0, control_share, 1.0 - control_share)
    return Experiment(_erase(rng, x, missing), arm, outcome, np.full((n, 1), effect), propensity)


def _rng(n: int, seed: int, missing: float) -> np.random.Generator:
    if n < 1:
        raise DataError(bad_value("n", "the generator", "an int in the range [1, inf)", n))
    if not 0.0 <= missing < 1.0:
        raise DataError(bad_value("missing", "the generator", "a number in the range [0, 1)", missing))
    return np.random.default_rng(seed)


def _assign(rng: np.random.Generator, n: int, shares: tuple[float, ...]) -> NDArray[np.int8]:
    return np.searchsorted(np.cumsum(shares)[:-1], rng.random(n), side="right").astype(np.int8)


def _erase(rng: np.random.Generator, x: Floats, missing: float) -> Floats:
    """Set a share of the values to NaN, whatever they are."""
    return np.where(rng.random(x.shape) < missing, np.nan, x) if missing else x


def _sigmoid(z: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-z))
    return result
