"""Decisions and the state of a growing forest as bytes: what travels between tasks and driver, and what is kept to
resume from. Plain numpy arrays, never pickle.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import MASK_WORDS
from spark_uplift.core.frontier import Decision


def record_type(n_arms: int) -> np.dtype[np.void]:
    """Return the layout of one decision; little-endian, without gaps."""
    return np.dtype(
        [
            ("stats", "<i8", (n_arms, 5)),
            ("left", "<i8", (n_arms, 5)),
            ("reference", "<f8", (n_arms,)),
            ("gain", "<f8"),
            ("mask", "<u8", (MASK_WORDS,)),
            ("feature", "<i4"),
            ("threshold", "<i2"),
            ("missing_left", "u1"),
            ("found", "u1"),
        ]
    )


def to_bytes(decisions: Iterable[Decision], n_arms: int) -> bytes:
    """Return decisions as bytes, one record each."""
    listed = list(decisions)
    out = np.zeros(len(listed), record_type(n_arms))
    for i, decision in enumerate(listed):
        for name in record_type(n_arms).names or ():
            value = getattr(decision, name)
            if name != "reference" or value.size:  # what is decided to its end needs none any more
                out[name][i] = value
    return out.tobytes()


def from_bytes(data: bytes, n_arms: int) -> list[Decision]:
    """Return the decisions that `to_bytes` wrote."""
    rows = np.frombuffer(data, record_type(n_arms))
    return [
        Decision(
            stats=row["stats"].copy(),
            left=row["left"].copy(),
            reference=row["reference"].copy(),
            found=bool(row["found"]),
            gain=float(row["gain"]),
            feature=int(row["feature"]),
            threshold=int(row["threshold"]),
            missing_left=bool(row["missing_left"]),
            mask=row["mask"].copy(),
        )
        for row in rows
    ]


def arrays_to_bytes(arrays: dict[str, npt.NDArray[np.generic]]) -> bytes:
    """Return named arrays as a compressed npz archive."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def arrays_from_bytes(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays that `arrays_to_bytes` wrote; an archive with anything but plain arrays is refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
