"""What a split criterion looks like to the engine: one compiled signature, and how to compile to it.

A gain is compiled as a numba ``cfunc`` of one fixed type, so that the engine's kernels take it as an
ordinary argument and can still be cached on disk. A dispatcher argument would make every criterion a new
type of the kernel, compiled anew in each process.

A gain is called as ``gain(node, left, right, reference, n_reg, normalization) -> f64``:

node, left, right : f64[A, 3]
    Per arm (row 0 is the control, rows 1..K the treatments) the weighted sums ``w, w*y, w*y*y`` in the
    outcome's own units with a mean weight of 1. ``node`` is ``left + right``.
reference : f64[A]
    The node's mean outcome per arm, smoothed along the path from the root; the node's own score uses it.
n_reg : f64
    Pseudo-rows at the node's reference that each child gets, divided over the arms as the node's rows are.
normalization : i64
    One of `NONE`, `PAPER`, `CAUSALML`; each criterion's docstring says what they do to it.

Higher is better, a split is taken only if its gain is > 0. An undefined gain is -inf, never NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from spark_uplift.core.jit import CACHED  # isort: skip  (decides where numba caches, so it comes before numba)

import numba
import numpy as np
import numpy.typing as npt
from numba import types

TABLE: Final = types.Array(types.float64, 2, "C")
MEANS: Final = types.Array(types.float64, 1, "C")
SIGNATURE: Final = types.float64(TABLE, TABLE, TABLE, MEANS, types.float64, types.int64)
GAIN_TYPE: Final = types.FunctionType(SIGNATURE)
"""The numba type of a gain that a kernel takes as an argument."""

W: Final = 0
WY: Final = 1
WYY: Final = 2

NONE: Final = 0
PAPER: Final = 1
CAUSALML: Final = 2
NORMALIZATION_CODES: Final[dict[str, int]] = {"none": NONE, "paper": PAPER, "causalml": CAUSALML}
"""Public names of the normalizations and the code that a gain receives."""

UNDEFINED: Final = -np.inf


_OPTIONS: Final[dict[str, Any]] = {
    # Division by zero gives inf or nan: a C callback can't raise, numba would only print.
    "error_model": "numpy",
    # No reference counting: gains only read their arrays, and counting cost 40 to 300 ns a call.
    "_nrt": False,
}


@cache
def compiled(function: Callable[..., float]) -> Any:
    """Compile a gain to `SIGNATURE`, cached on disk.

    Called when a criterion is first used, because a worker with a cold cache should compile one and not all.
    """
    return numba.cfunc(SIGNATURE, cache=CACHED, **_OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a helper of gains.

    Not cached on its own, because it ends up inside the cached gain.
    """
    return numba.njit(nogil=True, **_OPTIONS)(function)


def _call(gain, node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    return gain(node, left, right, reference, n_reg, normalization)


@cache
def _caller() -> Any:
    """Compile `_call`, when first needed: numba takes a second to wake up."""
    return numba.njit(types.float64(GAIN_TYPE, *SIGNATURE.args), cache=CACHED)(_call)


def call(
    gain: Any,
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    *,
    reference: npt.ArrayLike | None = None,
    n_reg: float = 0.0,
    normalization: int = PAPER,
) -> float:
    """Call a compiled gain from Python (the engine calls it from its kernels).

    Parameters
    ----------
    gain : compiled gain
    left, right : array-like f64[A, 3]
        Sums ``w, w*y, w*y*y`` per arm of the two children.
    reference : array-like f64[A], optional
        Smoothed means of the node; by default its plain means, 0 for an arm without rows.
    n_reg : float
        Pseudo-rows per child.
    normalization : int
        A code of `NORMALIZATION_CODES`.

    Returns
    -------
    float
        The gain; -inf when it is undefined.
    """
    sides = [np.ascontiguousarray(side, dtype=np.float64) for side in (left, right)]
    node = sides[0] + sides[1]
    if reference is None:
        weight = node[:, W]
        reference = np.divide(node[:, WY], weight, out=np.zeros(len(node)), where=weight > 0)
    means = np.ascontiguousarray(reference, dtype=np.float64)
    return float(_caller()(gain, node, sides[0], sides[1], means, float(n_reg), int(normalization)))
