"""Growing a policy tree from histograms: which splits, level by level.

ALGORITHM (hybrid search of policytree: Sverdrup, Kanodia, Zhou, Athey & Wager 2020; the value that is maximised:
Zhou, Athey & Wager 2023, "Offline multi-action policy learning")
    Rewards of arms add up over rows, so the joint histogram of two features tells the worth of every tree of depth 2
    over them; all pairs together give the best tree of depth 2 exactly, from one pass over the rows. A deeper tree
    takes the first split of the best tree of depth 2 at each open node, one pass a level, until two levels are left,
    which are exact again. A split costs ``price``; with price 0 it must gain something, so ties have fewer splits.
    Sums are whole numbers and ties go to the first in a fixed order: the tree does not depend on how rows were
    divided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.policy import tree_kernel

__all__ = ["MAX_DEPTH", "Counting", "Grower", "Layout", "PolicyNode", "Spec"]

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MAX_DEPTH = 4
"""Deeper trees are no longer rules that people read."""


@dataclass(frozen=True)
class Spec:
    """What a search must know of the rows and of the tree that is wanted.

    Attributes
    ----------
    n_codes : tuple of int
        Codes of each feature, "missing" included.
    categorical : tuple of bool
    treatments : int
        K, the arms other than control.
    counted : int
        Arms whose rows are counted apart: K + 1, or 1 when it is not known who got which.
    max_depth : int
        In [0, 4].
    min_node, min_arm : int
        Fewest rows of a node, and of each counted arm in it.
    price : int
        What a split must be worth, on the rewards' grid.
    """

    n_codes: tuple[int, ...]
    categorical: tuple[bool, ...]
    treatments: int
    counted: int
    max_depth: int
    min_node: int
    min_arm: int
    price: int = 0

    def on(self, features: list[int], max_depth: int | None = None) -> Spec:
        """Return the same for some of the features."""
        return Spec(
            tuple(self.n_codes[f] for f in features),
            tuple(self.categorical[f] for f in features),
            self.treatments,
            self.counted,
            self.max_depth if max_depth is None else max_depth,
            self.min_node,
            self.min_arm,
            self.price,
        )


@dataclass(frozen=True)
class Layout:
    """Where histograms lie: each feature alone, then (with ``paired``) each pair.

    Attributes
    ----------
    n_codes : tuple of int
    paired : bool
    """

    n_codes: tuple[int, ...]
    paired: bool

    @cached_property
    def pairs(self) -> I64:
        """Features of each histogram, ndarray of shape (P, 2), dtype=int64; -1: none."""
        n = len(self.n_codes)
        listed = [(f, -1) for f in range(n)]
        listed += [(f, g) for f in range(n) for g in range(f + 1, n)] if self.paired else []
        return np.array(listed, np.int64).reshape(-1, 2)

    @cached_property
    def widths(self) -> I64:
        """Codes of the second feature, ndarray of shape (P,), dtype=int64."""
        return np.array([1 if g < 0 else self.n_codes[g] for _, g in self.pairs], np.int64)

    @cached_property
    def offsets(self) -> I64:
        """First cell of each histogram and the number of all cells, ndarray of shape (P + 1,), dtype=int64."""
        sizes = [self.n_codes[f] * int(w) for (f, _), w in zip(self.pairs, self.widths, strict=True)]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def stride(self) -> int:
        """Cells of a node."""
        return int(self.offsets[-1])

    @cached_property
    def pair_at(self) -> I64:
        """First cell of each pair, ndarray of shape (F, F), dtype=int64, symmetric; 0 where there is none."""
        n = len(self.n_codes)
        found = np.zeros((n, n), np.int64)
        for (f, g), at in zip(self.pairs.tolist(), self.offsets.tolist(), strict=False):
            if g >= 0:
                found[f, g] = found[g, f] = at
        return found

    def single(self, cells: I64, f: int) -> I64:
        """Return a feature's own cells, ndarray of shape (codes, S), dtype=int64."""
        return cells[self.offsets[f] : self.offsets[f] + self.n_codes[f]]

    def within(self, cells: I64, f: int, left: Mask) -> list[I64]:
        """Return every feature's cells among the rows whose code of feature ``f`` is chosen."""
        found = []
        for g, codes in enumerate(self.n_codes):
            if g == f:
                found.append(np.where(left[:, None], self.single(cells, f), 0))
                continue
            a, b = min(f, g), max(f, g)
            at = int(self.pair_at[f, g])
            block = cells[at : at + self.n_codes[a] * self.n_codes[b]]
            table = block.reshape(self.n_codes[a], self.n_codes[b], -1)
            found.append(table[left].sum(axis=0) if f < g else table[:, left].sum(axis=1))
            assert found[-1].shape[0] == codes
        return found


@dataclass
class PolicyNode:
    """A node while the tree grows.

    Attributes
    ----------
    heap : int
        The root is 1, the children of n are 2n and 2n + 1.
    sums : ndarray of shape (S,), dtype=int64
        Net reward of each treatment over control's, then rows of each counted arm.
    feature : int
        -1 for a leaf.
    left : ndarray of shape (codes,), dtype=bool, or None
        Codes that go left.
    """

    heap: int
    sums: I64
    feature: int = -1
    left: Mask | None = None

    def action(self, treatments: int) -> int:
        """Return the best arm of all rows in the node; control (0) unless one is worth more, then the first."""
        worth = np.concatenate([[0], self.sums[:treatments]])
        return int(np.argmax(worth))


@dataclass
class Grower:
    """A tree that grows: says which nodes are open, takes their histograms, splits them.

    Attributes
    ----------
    spec : Spec
    nodes : dict of int to PolicyNode
        By heap index.
    open : list of int
        Nodes whose histograms are wanted, ascending.
    """

    spec: Spec
    nodes: dict[int, PolicyNode] = field(default_factory=dict)
    open: list[int] = field(default_factory=lambda: [1])

    @property
    def layout(self) -> Layout:
        """Histograms that the next pass must bring."""
        return Layout(self.spec.n_codes, self.spec.max_depth >= 2)

    @property
    def routes(self) -> tuple[I64, Mask]:
        """The splits so far, for `route`: features by heap index, and the codes that go left."""
        size = 2 ** (MAX_DEPTH + 2)
        feature, left = np.full(size, -1, np.int64), np.zeros((size, 256), np.bool_)
        for heap, node in self.nodes.items():
            if node.left is not None:
                feature[heap] = node.feature
                left[heap, : node.left.shape[0]] = node.left
        return feature, left

    @property
    def slots(self) -> I64:
        """The place of each open node among them, by heap index; -1 for other nodes."""
        found = np.full(2 ** (MAX_DEPTH + 2), -1, np.int64)
        found[self.open] = np.arange(len(self.open))
        return found

    def add(self, cells: I64) -> None:
        """Split the open nodes.

        Parameters
        ----------
        cells : ndarray of shape (open nodes, stride, S), dtype=int64
            As `layout` says.
        """
        layout, scratch, wanted = self.layout, _scratch(self.spec), self.open
        self.open = []
        for heap, own in zip(wanted, cells, strict=True):
            node = PolicyNode(heap, layout.single(own, 0).sum(axis=0))
            self.nodes[heap] = node
            depth = heap.bit_length() - 1
            remaining = self.spec.max_depth - depth
            if remaining == 1:
                self._split_once(node, [layout.single(own, f) for f in range(len(self.spec.n_codes))])
            elif remaining >= 2:
                self._split_ahead(node, own, layout, scratch, remaining)

    def _split_once(self, node: PolicyNode, tables: list[I64]) -> None:
        """Give a node its best split by one feature, if that is worth its price, and two leaves."""
        found = single_split(self.spec, tables)
        if found is None or found[0] - self.spec.price <= self._worth(node):
            return
        _, node.feature, node.left = found
        for side, chosen in enumerate((node.left, ~node.left)):
            sums = tables[node.feature][chosen].sum(axis=0)
            heap = 2 * node.heap + side
            self.nodes[heap] = PolicyNode(heap, sums)

    def _split_ahead(
        self, node: PolicyNode, cells: I64, layout: Layout, scratch: tuple[Any, Any], remaining: int
    ) -> None:
        """Give a node the first split of its best tree of depth 2; the second ones too when no level follows."""
        spec = self.spec
        n_codes, categorical = np.array(spec.n_codes, np.int64), np.array(spec.categorical, np.bool_)
        value, feature, order, prefix = tree_kernel.best_pair(
            cells, layout.offsets[: len(spec.n_codes)].copy(), layout.pair_at, n_codes, categorical,
            spec.treatments, spec.min_node, spec.min_arm, spec.price, *scratch,
        )  # fmt: skip
        if feature < 0 or value <= self._worth(node):
            return
        table = layout.single(cells, feature)
        node.feature = int(feature)
        node.left = _left_side(table, bool(categorical[feature]), spec.treatments, order, prefix)
        if remaining > 2:
            self.open += [2 * node.heap, 2 * node.heap + 1]
            return
        for side, chosen in enumerate((node.left, ~node.left)):
            child = PolicyNode(2 * node.heap + side, table[chosen].sum(axis=0))
            self.nodes[child.heap] = child
            self._split_once(child, layout.within(cells, node.feature, chosen))

    def _worth(self, node: PolicyNode) -> int:
        return max(0, int(node.sums[: self.spec.treatments].max(initial=0)))


def single_split(spec: Spec, tables: list[I64]) -> tuple[int, int, Mask] | None:
    """Return (worth of both sides, feature, codes that go left) of a node's best split by one feature.

    Parameters
    ----------
    tables : list of ndarray of shape (codes, S), dtype=int64
        Each feature's cells in the node.
    """
    best: tuple[int, int, int, int] | None = None
    _, scratch = _scratch(spec)
    for f, table in enumerate(tables):
        value, order, prefix = tree_kernel.best_single(
            np.ascontiguousarray(table), spec.n_codes[f], spec.categorical[f], spec.treatments,
            spec.min_node, spec.min_arm, scratch,
        )  # fmt: skip
        if order >= 0 and (best is None or value > best[0]):
            best = (int(value), f, int(order), int(prefix))
    if best is None:
        return None
    value, f, order, prefix = best
    return value, f, _left_side(tables[f], spec.categorical[f], spec.treatments, order, prefix)


def _left_side(table: I64, categorical: bool, treatments: int, order: int, prefix: int) -> Mask:
    """Return the codes that go left: a beginning of an order.

    Levels without rows in the node go with more rows; "missing" without rows goes right.
    """
    n_codes, width = table.shape[0], table.shape[1]
    orders, lengths, prefixes = _order_arrays(n_codes, treatments)
    tree_kernel.list_orders(
        np.ascontiguousarray(table), n_codes, categorical, treatments, orders, lengths, prefixes
    )
    left = np.zeros(n_codes, np.bool_)
    left[orders[order, : prefix + 1]] = True
    rows = table[:, treatments:width].sum(axis=1)
    if categorical:
        left[rows == 0] = int(rows[left].sum()) >= int(rows[~left].sum())
    elif not left[0] and not rows[1:][~left[1:]].any():
        left[1:] = True  # given against missing
    if rows[0] == 0:
        left[0] = False  # as in SQL, where a null fulfils no condition
    return left


def _order_arrays(widest: int, treatments: int) -> tuple[I64, I64, I64]:
    most = max(2, (treatments + 1) * treatments // 2 + widest)
    return np.zeros((most, widest), np.int64), np.zeros(most, np.int64), np.zeros(most, np.int64)


def _scratch(spec: Spec) -> tuple[Any, Any]:
    """Return memory for the outer and the inner search."""
    size = spec.treatments + spec.counted
    widest = max(spec.n_codes)
    return tuple(
        (*_order_arrays(widest, spec.treatments), *(np.zeros(size, np.int64) for _ in range(3)))
        for _ in range(2)
    )  # type: ignore[return-value]


@dataclass(frozen=True)
class Counting:
    """What a task must know to add rows to the histograms of open nodes: plain arrays.

    Attributes
    ----------
    layout : Layout
    size : int
        Numbers a cell.
    feature, left, slots
        See `Grower.routes` and `Grower.slots`.
    """

    layout: Layout
    size: int
    feature: I64
    left: Mask
    slots: I64

    @classmethod
    def of(cls, grower: Grower) -> Counting:
        """Return what the next pass must know."""
        return cls(
            grower.layout, grower.spec.treatments + grower.spec.counted, *grower.routes, slots=grower.slots
        )

    def empty(self) -> I64:
        """Return empty histograms, ndarray of shape (open nodes * stride, S), dtype=int64."""
        return np.zeros((int(self.slots.max() + 1) * self.layout.stride, self.size), np.int64)

    def add(self, codes: npt.NDArray[np.uint8], arm: I64, gains: I64, cells: I64) -> None:
        """Add rows.

        Parameters
        ----------
        codes : ndarray of shape (n, F), dtype=uint8
        arm : ndarray of shape (n,), dtype=int64
            Counted arm, from 0.
        gains : ndarray of shape (n, K), dtype=int64
            Net reward of each treatment over control's.
        cells : ndarray of shape (open nodes * stride, S), dtype=int64
            IN and OUT
        """
        node = np.empty(codes.shape[0], np.int64)
        tree_kernel.route(codes, self.feature, self.left, node)
        layout = self.layout
        tree_kernel.add_rows(
            np.ascontiguousarray(codes.T), self.slots[node], arm, gains,
            layout.pairs, layout.offsets[:-1], layout.widths, layout.stride, cells,
        )  # fmt: skip
