"""Dividing a group of nodes among reducers: who adds up which cells, within a memory bound.

A part is a node, or some successive features of one too wide for a bucket; a bucket is a run of parts whose cells lie
side by side in the group's histogram, so that a task sends a slice of its memory as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_uplift.core.frontier import OpenNode


@dataclass(frozen=True)
class Part:
    """Some features of a node.

    Attributes
    ----------
    slot : int
        The node's place in its group.
    first, last : int
        Its features, as a slice of ``OpenNode.features``.
    """

    slot: int
    first: int
    last: int


@dataclass(frozen=True)
class Bucket:
    """Parts that one reducer adds up and decides.

    Attributes
    ----------
    parts : tuple of Part
    start, end : int
        The cells of all of them in the group's histogram.
    """

    parts: tuple[Part, ...]
    start: int
    end: int


def divide(nodes: tuple[OpenNode, ...], cells: int) -> list[Bucket]:
    """Divide a group of nodes into buckets of at most ``cells`` cells (8 bytes each), a single feature excepted.

    Parameters
    ----------
    nodes : tuple of OpenNode
        The group.
    cells : int
        Bound of a bucket.
    """
    buckets: list[Bucket] = []
    parts: list[Part] = []
    start = at = 0
    for slot, node in enumerate(nodes):
        for first, last in _blocks(node, cells):
            size = int(node.offsets[last] - node.offsets[first])
            if parts and at + size - start > cells:
                buckets.append(Bucket(tuple(parts), start, at))
                parts, start = [], at
            parts.append(Part(slot, first, last))
            at += size
    if parts:
        buckets.append(Bucket(tuple(parts), start, at))
    return buckets


def _blocks(node: OpenNode, cells: int) -> list[tuple[int, int]]:
    """Return the node's features in successive blocks of at most ``cells`` cells, a single feature excepted."""
    blocks = []
    first = 0
    for j in range(1, node.features.size):
        if node.offsets[j + 1] - node.offsets[first] > cells:
            blocks.append((first, j))
            first = j
    return [*blocks, (first, node.features.size)]
