"""Scoring without Spark: the loader that MLflow's pyfunc calls, over files of `persist.write_local`.

This is all that a scoring server needs: numpy, numba, pyarrow and pandas. Neither pyspark nor mlflow is
imported. Scores agree with `UpliftForestModel.transform` to the bit: both encode by the same bins and call
the same kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.forest import Forest
from spark_uplift.errors import ColumnNotFoundError, DataError, ModelError
from spark_uplift.spark import arrow, persist

DEFAULT_LEVEL = 0.9
"""Coverage of intervals when the model's files name none."""

_SHOWN = 40


@dataclass(frozen=True)
class UpliftScorer:
    """Scores data frames of features.

    Parameters
    ----------
    forest : Forest
    level : float, optional
        Coverage of the intervals; None gives none. The forest must have little bags.
    uplift, recommended : str
        Names of the columns that `predict` returns.
    """

    forest: Forest
    level: float | None = None
    uplift: str = "uplift"
    recommended: str = "recommended"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the array columns that `predict` returns, then that of the recommended arm."""
        ends = ("",) if self.level is None else ("", "_lower", "_upper")
        return (*(self.uplift + end for end in ends), self.recommended)

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the uplift of every treatment and the recommended arm.

        Parameters
        ----------
        frame : DataFrame
            One row a recipient, with the forest's features in any order; other columns are not looked at.
            Numbers of any type, text or booleans; None and NaN are missing values, levels that training
            has not seen are treated as in `spark_uplift.core.binning`.
        params : mapping, optional
            Part of pyfunc's signature. Not used.

        Returns
        -------
        DataFrame
            With the index of ``frame``: ``uplift``, an ndarray of shape (K,), dtype=float64 a row, in the
            order of the forest's treatments and the outcome's unit (with intervals also ``uplift_lower`` and
            ``uplift_upper``), and ``recommended``, the arm with the largest positive uplift or else the
            control.

        Raises
        ------
        ColumnNotFoundError
            When features are missing; names the nearest ones.
        DataError
            When a feature holds something else than in training; all faults at once.
        """
        codes = _encode(self.forest.features, frame)
        if self.level is None:
            found: tuple[npt.NDArray[np.float64], ...] = (self.forest.predict(codes),)
        else:
            found = self.forest.predict_interval(codes, self.level)
        out: dict[str, Any] = {
            name: pd.Series(list(values), frame.index, dtype=object)
            for name, values in zip(self.columns, found, strict=False)
        }
        out[self.recommended] = pd.Series(self._recommend(found[0]), frame.index, dtype=object)
        return pd.DataFrame(out, index=frame.index)

    def _recommend(self, uplift: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
        """Return the first arm with the largest uplift where that is positive, else the control."""
        treatments = np.array(self.forest.treatments, dtype=object)
        best = uplift.argmax(axis=1)
        positive = np.take_along_axis(uplift, best[:, None], axis=1)[:, 0] > 0
        return np.where(positive, treatments[best], self.forest.control)


def _encode(features: tuple[FeatureBins, ...], frame: pd.DataFrame) -> npt.NDArray[np.uint8]:
    """Return the codes of the frame's features, ndarray of shape (n, F), dtype=uint8."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "The rows to score must be a pandas DataFrame with one column a feature. "
            f"Got {type(frame).__name__} instead."
        )
    missing = [bins.name for bins in features if bins.name not in frame.columns]
    if missing:
        raise ColumnNotFoundError.of(missing, [str(name) for name in frame.columns])
    arrays, faults = [], []
    for bins in features:
        try:
            arrays.append(_feature(bins, frame[bins.name]))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    codes = np.empty((len(frame), len(features)), np.uint8)
    arrow.encode_batch(features, arrays, codes)
    return codes


def _feature(bins: FeatureBins, values: Any) -> pa.Array:
    """Return a feature as Arrow has it in training: double or string, missing as null."""
    if isinstance(values, pd.DataFrame):
        raise DataError(
            f"The feature column '{bins.name}' must be there once. Got {values.shape[1]} of it instead."
        )
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(_misfit(bins, f"a mixture ({str(error)[:_SHOWN]}…)")) from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    wanted = pa.string() if bins.categorical else pa.float64()
    if array.null_count == len(array):  # of no type then, or of any
        return pa.nulls(len(array), wanted)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (is_text if bins.categorical else is_number):
        raise DataError(_misfit(bins, str(kind)))
    # Integers beyond 2^53 round to the nearest double, as they do in Spark's cast.
    return array.cast(wanted, safe=False)


def _misfit(bins: FeatureBins, got: str) -> str:
    kind = "text" if bins.categorical else "numbers"
    return (
        f"The feature column '{bins.name}' must hold {kind} as in training. Got {got} instead. Hint: cast it."
    )


def scorer(forest: Forest, settings: Mapping[str, Any]) -> UpliftScorer:
    """Return the scorer of a forest; ``settings`` are values of `UpliftForestModel`'s Params by name."""
    return UpliftScorer(
        forest,
        level=float(settings.get("intervalLevel", DEFAULT_LEVEL)) if forest.little_bags else None,
        uplift=str(settings.get("upliftCol", "uplift")),
        recommended=str(settings.get("recommendedCol", "recommended")),
    )


def settings_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Params in a model's metadata: those set, else the defaults, else those of the training."""
    training = found.get("training", {}).get("settings", {})
    return {**training, **found.get("defaultParamMap", {}), **found.get("paramMap", {})}


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """Return a local model's metadata.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.
    """
    parts = sorted(p for p in (Path(folder) / "metadata").glob("part-*") if p.stat().st_size > 0)
    if not parts:
        raise ModelError(f"The path '{folder}' must hold a saved model. Got no metadata there instead.")
    try:
        found = json.loads(parts[0].read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"The model at '{folder}' is damaged: {error}.") from error
    if not isinstance(found, dict):
        raise ModelError(
            f"The model at '{folder}' must be one that spark_uplift has saved. Got other metadata instead."
        )
    return found


def _load_pyfunc(path: str) -> UpliftScorer:
    """Return the model in a folder that `persist.write_local` wrote: what MLflow's pyfunc calls.

    Raises
    ------
    ModelError
        When the folder holds no model, or a damaged one.
    """
    loaded = scorer(persist.read_local(path), settings_of(read_metadata(path)))
    # Kernels are loaded or compiled here, so that the first request does not wait for that.
    loaded.predict(pd.DataFrame({bins.name: [None] for bins in loaded.forest.features}))
    return loaded
