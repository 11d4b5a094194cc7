"""Off-policy value: what would a policy have earned on rows that another policy logged?

Each row has a reward r, a row weight w and, for each policy, the ratio rho = P(logged action | policy) /
P(logged action | logging); for the methods with predictions also q, the predicted reward of the logged action,
and v = sum over actions of P(action | policy) * predicted reward. Every estimate is a ratio of two sums over rows
(`METHODS`), and its spread needs sums of their products. So the sums, the products and R bootstrap replicates of
the sums are all that a data set has to give (`Sums`), and they are additive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from spark_uplift.errors import DataError, bad_value, nearest
from spark_uplift.metrics.replicates import count_copies

__all__ = ["INTERVALS", "LOGGED", "METHODS", "Layout", "Method", "Sums", "choice_faults", "lanes", "sums_of"]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]

LOGGED = "logged"
"""Name of the policy that made the data; its value is the mean reward."""

INTERVALS = ("normal", "bootstrap", "empirical_bernstein")


@dataclass(frozen=True)
class Method:
    """An estimator as a ratio of two lanes.

    Parameters
    ----------
    name : str
        As users call it.
    numerator, denominator : str
        Lanes whose sums are divided.
    weight : str or None
        Lane of the importance weights that rewards get; None where none do.
    predicts : bool
        Whether it needs predicted rewards.
    formula, source : str
        Readable formula, and where it is from.
    """

    name: str
    numerator: str
    denominator: str
    weight: str | None
    predicts: bool
    formula: str
    source: str


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                "ips", "ips", "w", "ratio", False,
                "sum(w*rho*r)/sum(w)", "Horvitz & Thompson 1952",
            ),
            Method(
                "clipped_ips", "clipped", "w", "clipped_ratio", False,
                "sum(w*min(rho,M)*r)/sum(w)", "Ionides 2008, M = sqrt(n) unless given",
            ),
            Method(
                "snips", "ips", "ratio", "ratio", False,
                "sum(w*rho*r)/sum(w*rho)", "Swaminathan & Joachims 2015 (Hajek)",
            ),
            Method("dm", "dm", "w", None, True, "sum(w*v)/sum(w)", "direct method"),
            Method(
                "dr", "dr", "w", "ratio", True,
                "sum(w*(v + rho*(r-q)))/sum(w)", "Dudik, Langford & Li 2011",
            ),
            Method(
                "switch", "switch", "w", "kept_ratio", True,
                "sum(w*(v + rho*1[rho<=M]*(r-q)))/sum(w)", "Wang, Agarwal & Dudik 2017, switch-DR",
            ),
        )
    }
)  # fmt: skip
"""All estimators by name."""

_SHARED = ("w", "wr")


@dataclass(frozen=True)
class Layout:
    """Which sums are taken: lanes, and pairs of lanes whose products are added up.

    Parameters
    ----------
    policies : tuple of str
        Their names; the columns of `ratio`, `value` and `cost` in `lanes` are in this order.
    methods : tuple of str
        Keys of `METHODS`.
    costs : bool
        Whether each row has the policies' expected costs.
    baseline : str
        What values are compared with: a policy, or `LOGGED`.
    lanes : tuple of (str, str)
        Policy (``""`` for lanes of all) and name of each lane.
    pairs : tuple of (int, int)
        Lanes of each product, ascending.
    """

    policies: tuple[str, ...]
    methods: tuple[str, ...]
    costs: bool
    baseline: str
    lanes: tuple[tuple[str, str], ...]
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        policies: Sequence[str],
        methods: Sequence[str],
        *,
        costs: bool = False,
        baseline: str | Sequence[str] = LOGGED,
    ) -> Layout:
        """Lay out what the methods need for each policy.

        Of several baselines the first is taken; `against` takes another.
        """
        baselines = (baseline,) if isinstance(baseline, str) else tuple(baseline)
        found: list[tuple[str, str]] = [("", name) for name in _SHARED]
        for policy in policies:
            names = ["ratio"]
            for method in (METHODS[name] for name in methods):
                names += [method.numerator, method.denominator, *([method.weight] if method.weight else [])]
            names += ["cost"] if costs else []
            found += [(policy, name) for name in dict.fromkeys(names) if name not in _SHARED]
        layout = cls(tuple(policies), tuple(methods), costs, baselines[0], tuple(found), ())
        wanted = {(0, 0), (0, 1), (1, 1)}
        for name in methods:
            wanted |= {(i, j) for i in (0, 1) for one in baselines for j in layout.terms(one, name)}
        for policy in policies:
            for name in methods:
                top, bottom = layout.terms(policy, name)
                base = [lane for one in baselines for lane in layout.terms(one, name)]
                ratio, weight = layout.lane(policy, "ratio"), layout.lane(policy, METHODS[name].weight or "w")
                own = (top, bottom, ratio, weight, 0)
                wanted |= {(i, j) for i in own for j in own} | {(i, j) for i in (top, bottom) for j in base}
        pairs = sorted({(min(pair), max(pair)) for pair in wanted})
        return replace(layout, pairs=tuple(pairs))

    def against(self, baseline: str) -> Layout:
        """Return the same layout with another one of its baselines."""
        return replace(self, baseline=baseline)

    def lane(self, policy: str, name: str) -> int:
        """Return the number of a lane."""
        return self.lanes.index(("" if name in _SHARED else policy, name))

    def terms(self, policy: str, method: str) -> tuple[int, int]:
        """Return the lanes of numerator and denominator; those of the mean reward for `LOGGED`."""
        if policy == LOGGED and LOGGED not in self.policies:
            return 1, 0
        chosen = METHODS[method]
        return self.lane(policy, chosen.numerator), self.lane(policy, chosen.denominator)

    @property
    def predicts(self) -> bool:
        """Whether a method needs predicted rewards."""
        return any(METHODS[name].predicts for name in self.methods)


@dataclass(frozen=True)
class Sums:
    """What a data set gives; all but `max_ratio` are additive.

    Parameters
    ----------
    totals : ndarray of shape (L,), dtype=float64
        Sum of each lane.
    products : ndarray of shape (pairs,), dtype=float64
        Sum over independent units (rows, or clusters) of the product of their lanes.
    replicates : ndarray of shape (R, L), dtype=float64
        Totals of each bootstrap replicate; R may be 0.
    max_ratio : ndarray of shape (P,), dtype=float64
        Largest ratio of each policy.
    rows, units : int
        Rows, and independent units.
    """

    totals: F64
    products: F64
    replicates: F64
    max_ratio: F64
    rows: int
    units: int


def lanes(
    layout: Layout,
    reward: F64,
    weight: F64,
    ratio: F64,
    clip: float,
    predicted: F64 | None = None,
    value: F64 | None = None,
    cost: F64 | None = None,
) -> F64:
    """Return the additive values of rows.

    Parameters
    ----------
    layout : Layout
        Which lanes.
    reward, weight : ndarray of shape (n,), dtype=float64
        Rewards and row weights.
    ratio : ndarray of shape (n, P), dtype=float64
        Importance ratio of each policy, 0 or more.
    clip : float
        M of `METHODS`.
    predicted : ndarray of shape (n,), dtype=float64, optional
        Predicted reward of the logged action.
    value, cost : ndarray of shape (n, P), dtype=float64, optional
        Predicted reward and cost under each policy.

    Returns
    -------
    ndarray of shape (n, L), dtype=float64
    """
    out = np.empty((reward.shape[0], len(layout.lanes)))
    rest = None if predicted is None else reward - predicted
    for number, (policy, name) in enumerate(layout.lanes):
        p = layout.policies.index(policy) if policy else 0
        rho = ratio[:, p] if policy else np.ones(0)
        if name == "w":
            lane = np.ones_like(reward)
        elif name == "wr":
            lane = reward
        elif name == "cost" and cost is not None:
            lane = cost[:, p]
        else:
            lane = _lane(name, rho, clip, reward, rest, None if value is None else value[:, p])
        out[:, number] = weight * lane
    return out


def _lane(name: str, rho: F64, clip: float, reward: F64, rest: F64 | None, value: F64 | None) -> F64:
    """Return one lane of a policy, without the row weight."""
    if name == "ratio":
        return rho
    if name == "ips":
        return rho * reward
    if name == "clipped_ratio":
        return np.minimum(rho, clip)
    if name == "clipped":
        return np.minimum(rho, clip) * reward
    if name == "kept_ratio":
        return np.where(rho <= clip, rho, 0.0)
    if value is None or rest is None:
        raise DataError(
            bad_value("predicted", "policy value", "given for the methods dm, dr and switch", None)
        )
    if name == "dm":
        return value
    kept = rho if name == "dr" else np.where(rho <= clip, rho, 0.0)
    return value + kept * rest


def sums_of(layout: Layout, values: F64, ratio: F64, units: U64 | None, seed: int, bootstrap: int) -> Sums:
    """Add up lanes, one independent unit a row.

    Parameters
    ----------
    layout : Layout
        Of the lanes.
    values : ndarray of shape (n, L), dtype=float64
        See `lanes`.
    ratio : ndarray of shape (n, P), dtype=float64
        Importance ratios.
    units : ndarray of shape (n,), dtype=uint64, or None
        What the bootstrap's draws are keyed by; None takes the row's number.
    seed, bootstrap : int
        Of the replicates; 0 makes none.
    """
    rows = values.shape[0]
    if units is None:
        units = np.arange(rows, dtype=np.uint64)
    replicates = np.zeros((bootstrap, values.shape[1]))
    for start in range(0, rows if bootstrap else 0, 8192):
        part = slice(start, start + 8192)
        replicates += count_copies(units[part], seed, bootstrap).T @ values[part]
    first, second = (np.array(side) for side in zip(*layout.pairs, strict=True))
    products = np.einsum("ip,ip->p", values[:, first], values[:, second])
    most = ratio.max(axis=0) if rows else np.zeros(ratio.shape[1])
    return Sums(values.sum(axis=0), products, replicates, most, rows, rows)


def choice_faults(
    owner: str, methods: Sequence[str], intervals: Sequence[str], *, level: float, bootstrap: int
) -> list[str]:
    """Return what is wrong with the choice of methods and intervals."""
    faults = []
    for param, chosen, known in (("method", methods, tuple(METHODS)), ("interval", intervals, INTERVALS)):
        if not chosen:
            faults.append(bad_value(param, owner, f"at least one of {list(known)}", list(chosen)))
        for name in chosen:
            if name not in known:
                near = nearest(str(name), known)
                hint = f"did you mean {near!r}?" if near else None
                faults.append(bad_value(param, owner, f"one of {list(known)}", name, hint))
    if "empirical_bernstein" in intervals and "snips" in methods:
        faults.append(
            bad_value(
                "interval",
                owner,
                "'normal' or 'bootstrap' for the method 'snips', which is no mean of independent terms",
                "empirical_bernstein",
                "take the method 'clipped_ips'",
            )
        )
    if not (isinstance(level, float) and 0.0 < level < 1.0):
        faults.append(bad_value("level", owner, "a float in the range (0, 1)", level))
    least = 2 if "bootstrap" in intervals else 0
    if not isinstance(bootstrap, int) or isinstance(bootstrap, bool) or bootstrap < least:
        faults.append(bad_value("bootstrap", owner, f"an int of at least {least}", bootstrap))
    return faults
