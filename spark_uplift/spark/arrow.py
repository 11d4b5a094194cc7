"""Between Arrow batches and numpy arrays. Views where Arrow allows it, never a row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.binning import FeatureBins, encode_levels, encode_numeric


def numbers(array: pa.Array) -> npt.NDArray[np.float64]:
    """Return a double column, nulls as NaN, ndarray of shape (n,), dtype=float64."""
    values: npt.NDArray[np.float64] = array.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values


def hashes(array: pa.Array) -> npt.NDArray[np.uint64]:
    """Return a bigint column without nulls as unsigned hashes, ndarray of shape (n,), dtype=uint64."""
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).view(np.uint64)


def coded(array: pa.Array, table_of: Any) -> npt.NDArray[np.uint8]:
    """Return one code a value of a string column: ``table_of(levels)`` gives the codes of distinct levels.

    Null takes the code of the level None, which ``table_of`` is always given last.
    """
    encoded = array.dictionary_encode()
    levels = [*encoded.dictionary.to_pylist(), None]
    table = table_of(levels)
    index = encoded.indices.to_numpy(zero_copy_only=False)
    if encoded.indices.null_count:
        index = np.where(np.isnan(index), len(levels) - 1, index).astype(np.int64)
    codes: npt.NDArray[np.uint8] = table[index]
    return codes


def encode_batch(
    features: tuple[FeatureBins, ...], arrays: list[pa.Array], out: npt.NDArray[np.uint8]
) -> None:
    """Write the codes of a batch's feature columns to ``out``, uint8 of shape (n, F), OUT."""
    for j, (bins, array) in enumerate(zip(features, arrays, strict=True)):
        if bins.categorical:
            out[:, j] = coded(array, lambda levels, bins=bins: encode_levels(bins, levels))
        else:
            encode_numeric(bins, numbers(array), j, out)


def binary(value: Any, dtype: Any) -> npt.NDArray[Any]:
    """Return a read-only array over one binary value, which may be Arrow's or Python's bytes."""
    buffer = value.as_buffer() if isinstance(value, pa.Scalar) else value
    return np.frombuffer(buffer, dtype)
