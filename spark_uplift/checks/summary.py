"""What the checks know about an experiment: counts and moments, never rows.
 An `ExperimentSummary` is made by ``spark/summary.py`` from a table of any size and by tests from a few
numbers. Everything in it is additive or a maximum, so it doesn't depend on how the table was partitioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

NUMERIC = "numeric"
CATEGORICAL = "categorical"


@dataclass(frozen=True)
class ArmSummary:
    """One arm.

    Parameters
    ----------
    arm : str
        Name.
    rows : int
        Rows that were assigned to the arm, usable or not.
    outcome_rows : int
        Rows with a finite outcome. The moments below are over these.
    mean, variance, minimum, maximum : float
        Of the outcome, in its unit (variance: squared, divisor n - 1); NaN when there is no such row.
    clusters : int or None
        Distinct clusters in the arm; None when the experiment has no cluster column.
    """

    arm: str
    rows: int
    outcome_rows: int = 0
    mean: float = float("nan")
    variance: float = float("nan")
    minimum: float = float("nan")
    maximum: float = float("nan")
    clusters: int | None = None


@dataclass(frozen=True)
class Cells:
    """Counts and sums of one feature per arm and bin; the last bin is "missing".

    Parameters
    ----------
    rows : ndarray of shape (n_arms, n_bins), dtype=int64
        Rows of the arm in the bin.
    outcome_rows : ndarray of shape (n_arms, n_bins), dtype=int64
        Those with a finite outcome. The four fields below are over these.
    outcome : ndarray of shape (n_arms, n_bins), dtype=float64
        Sum of the outcome.
    square : ndarray of shape (n_arms, n_bins), dtype=float64
        Sum of its square.
    high : ndarray of shape (n_arms, n_bins), dtype=int64
        Rows whose outcome is above `ExperimentSummary.outcome_cut`.
    value : ndarray of shape (n_arms, n_bins), dtype=float64
        Sum of the feature itself; zeros for a categorical one.
    labels : tuple of str
        What each bin holds, in words.
    """

    rows: Int
    outcome_rows: Int
    outcome: Float
    square: Float
    high: Int
    value: Float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class FeatureSummary:
    """One feature, over the rows with a known arm.

    Parameters
    ----------
    name : str
        Column.
    kind : str
        ``NUMERIC`` or ``CATEGORICAL``.
    missing : tuple of int
        Null or NaN values per arm, in the order of `ExperimentSummary.arms`.
    infinite : int
        Values that are ±inf; such rows are quarantined.
    distinct : int
        Distinct values. For a numeric feature in the sample that the bins come from, so a lower bound when
        the table is larger than that.
    minimum, maximum : float
        Of the finite values; NaN for a categorical feature or when all are missing.
    levels : tuple of (str, int)
        The most frequent categories with their rows, most frequent first; empty for a numeric feature.
    frequent_levels : int
        Categories with at least `spark_uplift.core.binning.RARE_LEVEL_ROWS` rows.
    number_rows : int
        Rows whose text reads as a number; 0 for columns that are not text or were declared categorical.
    text_example : str or None
        One value that does not read as a number, when others do.
    cells : Cells or None
        None when all values are missing.
    """

    name: str
    kind: str
    missing: tuple[int, ...]
    infinite: int = 0
    distinct: int = 0
    minimum: float = float("nan")
    maximum: float = float("nan")
    levels: tuple[tuple[str, int], ...] = ()
    frequent_levels: int = 0
    number_rows: int = 0
    text_example: str | None = None
    cells: Cells | None = None

    @property
    def constant(self) -> bool:
        """Whether all values that are there are equal."""
        return self.minimum == self.maximum if self.kind == NUMERIC else self.distinct == 1


@dataclass(frozen=True)
class ExperimentSummary:
    """A whole experiment.

    Parameters
    ----------
    treatment, outcome, control : str
        Columns, and the control arm.
    rows : int
        Rows of the source.
    arms : tuple of ArmSummary
        Known arms: control first (present in the data or not), the others sorted.
    shares : mapping of str to float, optional
        Shares of the arms in the design.
    null_arm : int
        Rows without an arm.
    unknown_arms : mapping of str to int
        Rows per arm that was not expected.
    quarantined : mapping of str to int
        Rows that can't be used, by their (first) reason.
    has_id : bool
        Whether the units have an id column. Without one a duplicate can't be told from a twin.
    duplicate_rows : int
        Rows beyond the first of a unit.
    units_in_two_arms : int
        Rows of units that were seen in more than one arm.
    outcome_values : int
        Distinct outcomes, in the sample that the bins come from.
    outcome_binary, outcome_whole : bool
        All outcomes are 0 or 1; all are whole numbers.
    outcome_cut : float
        An outcome above it counts as high: the median, or the minimum when half of the rows have that.
    features : tuple of FeatureSummary
        In the order of the configuration.
    """

    treatment: str
    outcome: str
    control: str
    rows: int
    arms: tuple[ArmSummary, ...]
    shares: Mapping[str, float] | None = None
    null_arm: int = 0
    unknown_arms: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    quarantined: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    has_id: bool = False
    duplicate_rows: int = 0
    units_in_two_arms: int = 0
    outcome_values: int = 0
    outcome_binary: bool = False
    outcome_whole: bool = False
    outcome_cut: float = 0.0
    features: tuple[FeatureSummary, ...] = ()

    @property
    def known_rows(self) -> int:
        """Rows with a known arm."""
        return sum(arm.rows for arm in self.arms)

    @property
    def filled_arms(self) -> tuple[ArmSummary, ...]:
        """Arms that have rows."""
        return tuple(arm for arm in self.arms if arm.rows)

    @property
    def outcome_rows(self) -> int:
        """Rows with a known arm and a finite outcome."""
        return sum(arm.outcome_rows for arm in self.arms)

    @property
    def outcome_mean(self) -> float:
        """Mean outcome over all arms; NaN without rows."""
        if not self.outcome_rows:
            return float("nan")
        return sum(arm.outcome_rows * arm.mean for arm in self.arms if arm.outcome_rows) / self.outcome_rows

    @property
    def outcome_variance(self) -> float:
        """Variance of the outcome over all arms together (divisor n); NaN without rows.

        Law of total variance: the sum of squares within the arms and that of the arms' means.
        """
        if not self.outcome_rows:
            return float("nan")
        mean, filled = self.outcome_mean, [arm for arm in self.arms if arm.outcome_rows]
        within = sum((arm.outcome_rows - 1) * arm.variance for arm in filled if arm.outcome_rows > 1)
        between = sum(arm.outcome_rows * (arm.mean - mean) ** 2 for arm in filled)
        return (within + between) / self.outcome_rows
