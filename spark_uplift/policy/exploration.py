"""Exploration: a share of the units, drawn by hash, gets an arm drawn among those that are open to it.

Without it the next evaluation sees each arm only where the last model wanted it. With it every open arm has a known
probability, which is logged: ``share / open + (1 - share)`` for the arm that the policy chose, ``share / open`` for the
others (epsilon-greedy; e.g. Li et al. 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.sampling import stream_key
from spark_uplift.policy.allocation import Units, draws

EXPLORE, EXPLORED_ARM, TIES, SAMPLE = 64, 65, 66, 67
"""Purposes of draws, beside those of ``core.sampling``."""

SHARE_BITS = 53


def signed_key(seed: int, purpose: int, index: int = 0) -> int:
    """Return the key of a stream of draws as a signed 64-bit number, as SQL has them."""
    key = int(stream_key(seed, purpose, index))
    return int(key - 2**64 if key >= 2**63 else key)


def drawn(units: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """Return Spark's ``xxhash64(unit, key)``, ndarray of shape (n,), dtype=uint64."""
    out = np.empty(len(units), np.uint64)
    draws(np.ascontiguousarray(units), np.int64(key).view(np.uint64), out)
    return out


def within(units: npt.NDArray[np.uint64], key: int, share: float) -> npt.NDArray[np.bool_]:
    """Say which units a draw picks, each with probability `share`."""
    shift = np.uint64(64 - SHARE_BITS)
    found: npt.NDArray[np.bool_] = (drawn(units, key) >> shift) < np.uint64(threshold(share))
    return found


def threshold(share: float) -> int:
    """Return the number that the upper 53 bits of a draw are below with probability `share`."""
    return round(share * 2.0**SHARE_BITS)


@dataclass(frozen=True)
class Exploration:
    """Who explores what.

    Attributes
    ----------
    share : float
        In [0, 1).
    key, arm_key : int
        Of the draws, signed.
    """

    share: float
    key: int
    arm_key: int

    @classmethod
    def of(cls, share: float, seed: int) -> Exploration:
        """Return the exploration of a share of the units under a seed."""
        return cls(share, signed_key(seed, EXPLORE), signed_key(seed, EXPLORED_ARM))

    def explored(self, units: Units) -> npt.NDArray[np.bool_]:
        """Say which units explore."""
        if self.share == 0.0:
            return np.zeros(units.size, bool)
        return within(units.unit, self.key, self.share)

    def arms(self, units: Units) -> npt.NDArray[np.int8]:
        """Return the arm that units get when they explore, uniform over control and what no rule excludes.

        Returns
        -------
        ndarray of shape (n,), dtype=int8
            0 is control.
        """
        k = units.net.shape[1]
        bits = (units.allowed[:, None] >> np.arange(k, dtype=np.uint32)) & np.uint32(1)
        rank = np.cumsum(bits, axis=1).astype(np.uint64)
        open_arms = rank[:, -1] + np.uint64(1) if k else np.ones(units.size, np.uint64)
        pick = ((drawn(units.unit, self.arm_key) >> np.uint64(32)) * open_arms) >> np.uint64(32)
        chosen = (rank == pick[:, None]) & (bits == 1)
        found: npt.NDArray[np.int8] = np.where(chosen.any(axis=1), chosen.argmax(axis=1) + 1, 0).astype(
            np.int8
        )
        return found
