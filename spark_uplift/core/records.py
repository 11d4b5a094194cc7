"""Rows packed side by side: everything a kernel needs of a row in one short run of bytes.

A tree's rows are kept together and swapped as whole records while the tree grows, so that counting a node is one
straight walk over memory. A record is a whole number of 8-byte words, little-endian:

====================  =================================================================================
byte 0                arm
byte 1                copies of the row in the bag (1 in a block)
bytes 2-3             PACKED: the outcome, int16
bytes 4 .. 4+F        codes
then, on whole words  the lanes, int64 each (not for PACKED)
====================  =================================================================================
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import LANES, PACKED

CODES_AT = 4


def code_words(n_features: int) -> int:
    """Return how many words arm, copies, outcome and codes take."""
    return (CODES_AT + n_features + 7) // 8


def record_words(n_features: int, layout: int) -> int:
    """Return the length of a record in 8-byte words."""
    return code_words(n_features) + (0 if layout == PACKED else LANES[layout])


def pack(
    codes: npt.NDArray[np.uint8], arms: npt.NDArray[np.uint8], lanes: npt.NDArray[np.int64], layout: int
) -> npt.NDArray[np.uint64]:
    """Pack rows into records.

    Parameters
    ----------
    codes : ndarray of shape (n, F), dtype=uint8
    arms : ndarray of shape (n,), dtype=uint8
    lanes : ndarray of shape (n, L), dtype=int64
        Of one copy of the row.

    Returns
    -------
    ndarray of shape (n, record_words), dtype=uint64
    """
    n, n_features = codes.shape
    words = np.zeros((n, record_words(n_features, layout)), np.uint64)
    as_bytes = words.view(np.uint8)
    as_bytes[:, 0] = arms
    as_bytes[:, 1] = 1
    as_bytes[:, CODES_AT : CODES_AT + n_features] = codes
    if layout == PACKED:
        words.view(np.int16)[:, 1] = lanes[:, 0] >> 32
    else:
        words.view(np.int64)[:, code_words(n_features) :] = lanes
    return words


def unpack(
    words: npt.NDArray[np.uint64], n_features: int, layout: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return (codes, arms, lanes) of records: what `pack` was given."""
    as_bytes = words.view(np.uint8)
    codes = np.ascontiguousarray(as_bytes[:, CODES_AT : CODES_AT + n_features])
    if layout == PACKED:
        lanes = (1 + (words.view(np.int16)[:, 1].astype(np.int64) << 32))[:, None]
    else:
        lanes = np.ascontiguousarray(words.view(np.int64)[:, code_words(n_features) :])
    return codes, np.ascontiguousarray(as_bytes[:, 0]), lanes
