"""Counting the smaller of two siblings only: the other is the parent minus it, exactly, since sums are integers.

The parents' histograms stay where they were added up, a bucket each (see `buckets`), and each reducer gets one of
them back together with what was counted of its nodes' smaller children. It needs all features at every node: with a
subset a child counts other features than its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.buckets import Bucket, Part
from spark_uplift.core.frontier import Key, OpenNode


@dataclass(frozen=True)
class Held:
    """A bucket whose histograms were kept: for each part the node, its features, and where its cells begin."""

    parts: tuple[tuple[Key, int, int, int], ...]


@dataclass(frozen=True)
class Step:
    """What a reducer does for some features of one open node.

    Attributes
    ----------
    slot, first, last : int
        The node's place among the open nodes, and its features.
    size : int
        Cells.
    counted : int
        Where its own cells, or its sibling's, begin in what was counted.
    parent : int
        Where its parent's cells begin in the bucket that was kept; -1: its own cells were counted.
    """

    slot: int
    first: int
    last: int
    size: int
    counted: int
    parent: int


@dataclass(frozen=True)
class Reduction:
    """One reducer's work: an input bucket, and output buckets, each of some steps."""

    start: int
    end: int
    outputs: tuple[tuple[int, tuple[Step, ...]], ...]


@dataclass(frozen=True)
class Plan:
    """A pass.

    Attributes
    ----------
    counted : tuple of OpenNode
        The nodes that tasks count.
    parts : tuple of Part
        Their parts in the order of the tasks' histogram; slots are places in ``counted``.
    reductions : tuple of Reduction
        By the number of the bucket.
    kept : tuple of Held
        The output buckets.
    """

    counted: tuple[OpenNode, ...]
    parts: tuple[Part, ...]
    reductions: tuple[Reduction, ...]
    kept: tuple[Held, ...]


def _size(node: OpenNode, first: int, last: int) -> int:
    return int(node.offsets[last] - node.offsets[first])


def plain(nodes: tuple[OpenNode, ...], buckets: Iterable[Bucket]) -> Plan:
    """Return the plan that counts every node."""
    parts: list[Part] = []
    reductions: list[Reduction] = []
    kept: list[Held] = []
    for number, bucket in enumerate(buckets):
        steps, held, at = [], [], 0
        for part in bucket.parts:
            node = nodes[part.slot]
            size = _size(node, part.first, part.last)
            steps.append(Step(part.slot, part.first, part.last, size, at, -1))
            held.append((node.key, part.first, part.last, at))
            at += size
        parts += bucket.parts
        reductions.append(Reduction(bucket.start, bucket.end, ((number, tuple(steps)),)))
        kept.append(Held(tuple(held)))
    return Plan(nodes, tuple(parts), tuple(reductions), tuple(kept))


def smaller(nodes: tuple[OpenNode, ...]) -> npt.NDArray[np.bool_]:
    """Return which nodes are to be counted: of two open siblings the one with fewer rows, the left one of equals."""
    rows = {node.key: 0 if node.stats is None else int(node.stats[:, 0].sum()) for node in nodes}
    out = np.ones(len(nodes), np.bool_)
    for i, node in enumerate(nodes):
        sibling = (node.tree, node.heap ^ 1)
        if sibling in rows:
            out[i] = (rows[node.key], node.heap) < (rows[sibling], sibling[1])
    return out


def below(nodes: tuple[OpenNode, ...], kept: Iterable[Held], cells: int) -> Plan | None:
    """Return the plan that counts the smaller children of nodes whose histograms were kept.

    Parameters
    ----------
    nodes : tuple of OpenNode
        The whole frontier.
    kept : iterable of Held
        From the plan of the pass before.
    cells : int
        Bound of an output bucket.

    Returns
    -------
    Plan or None
        None when a node's parent was not kept.
    """
    held = list(kept)
    known = {key for bucket in held for key, *_ in bucket.parts}
    if any((node.tree, node.heap >> 1) not in known for node in nodes):
        return None
    count = smaller(nodes)
    place = {node.key: slot for slot, node in enumerate(nodes)}
    counted_place = {int(slot): i for i, slot in enumerate(np.flatnonzero(count))}
    build = _Builder(nodes, cells)
    for bucket in held:
        build.reduce(bucket, place, counted_place)
    counted = tuple(node for node, yes in zip(nodes, count, strict=True) if yes)
    return Plan(counted, tuple(build.parts), tuple(build.reductions), tuple(build.kept))


class _Builder:
    def __init__(self, nodes: tuple[OpenNode, ...], cells: int) -> None:
        self.nodes, self.cells = nodes, cells
        self.parts: list[Part] = []
        self.reductions: list[Reduction] = []
        self.kept: list[Held] = []
        self.at = 0

    def reduce(self, bucket: Held, place: Mapping[Key, int], counted: Mapping[int, int]) -> None:
        """Add the work for one kept bucket."""
        start, steps = self.at, []
        for (tree, heap), first, last, parent in bucket.parts:
            children = [place[key] for key in ((tree, 2 * heap), (tree, 2 * heap + 1)) if key in place]
            if not children:
                continue
            size = _size(self.nodes[children[0]], first, last)
            (own,) = [slot for slot in children if slot in counted]
            self.parts.append(Part(counted[own], first, last))
            for slot in children:
                steps.append(Step(slot, first, last, size, self.at - start, -1 if slot == own else parent))
            self.at += size
        self.reductions.append(Reduction(start, self.at, tuple(self._outputs(steps))))

    def _outputs(self, steps: list[Step]) -> Iterable[tuple[int, tuple[Step, ...]]]:
        """Divide the steps into output buckets within the bound."""
        first = 0
        while first < len(steps):
            last, held, at = first, [], 0
            while last < len(steps) and (last == first or at + steps[last].size <= self.cells):
                step = steps[last]
                held.append((self.nodes[step.slot].key, step.first, step.last, at))
                at += step.size
                last += 1
            yield len(self.kept), tuple(steps[first:last])
            self.kept.append(Held(tuple(held)))
            first = last
