"""The curves of an evaluation, and where the rows of a block belong in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.spark.evaluate_blocks import Block
from spark_uplift.spark.evaluate_input import Prepared

__all__ = ["Placed", "View", "place", "views_of"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """One curve of an evaluation.

    Parameters
    ----------
    name : str
        The arm, or ``"*"`` for the policy.
    code : int
        Number of the arm from 1; 0 for the policy.
    model : int
        Whose scores.
    score : int
        Which of them ranks the rows; the policy takes the largest.
    slots : int
        Arms that have sums of their own, control included.
    population : bool
        Whether rows of other arms belong to the population too.
    dr : int or None
        Which doubly robust score counts, -1 for that of the best arm; None without such scores.
    alone : bool
        Whether it is the experiment's only arm, hence everybody's best one.
    """

    name: str
    code: int
    model: int
    score: int
    slots: int
    population: bool
    dr: int | None
    alone: bool = False


@dataclass(frozen=True)
class Placed:
    """A block in one view: score and slot (-1 for none) of each row, and its doubly robust score."""

    score: F64
    slot: I64
    dr: F64 | None


def views_of(prepared: Prepared, arm: str | None, model: int = 0) -> list[View]:
    """Return the views of a model: the one arm, or every arm and then, with several, the policy."""
    names, layout = prepared.treatments, prepared.layout
    codes = [names.index(arm) + 1] if arm is not None else range(1, len(names) + 1)
    scored = len(layout.widths) > layout.models
    views = []
    for code in codes:
        score = 0 if layout.widths[model] == 1 else code - 1
        dr = (0 if layout.widths[-1] == 1 else code - 1) if scored else None
        population = prepared.logged or scored
        alone = arm is None and len(names) == 1
        views.append(View(names[code - 1], code, model, score, 2, population, dr, alone))
    if arm is None and len(names) > 1:
        views.append(View("*", 0, model, -1, len(names) + 1, True, -1 if scored else None))
    return views


def place(block: Block, views: Sequence[View]) -> list[Placed]:
    """Return where the rows of a block belong in each view."""
    rows = np.arange(block.y.shape[0])
    placed = []
    for view in views:
        scores = block.scores[view.model]
        if view.code:
            slot = np.where(block.arm == 0, 0, np.where(block.arm == view.code, 1, -1))
            dr = None if view.dr is None or block.dr is None else block.dr[view.dr]
            placed.append(Placed(scores[view.score], slot, dr))
        else:
            best = np.argmax(scores, axis=0)  # the first of equals
            slot = np.where((block.arm == 0) | (block.arm == best + 1), block.arm, -1)
            dr = None if block.dr is None else block.dr[best, rows]
            placed.append(Placed(scores[best, rows], slot, dr))
    return placed
