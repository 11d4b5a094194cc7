"""A policy tree: who gets which arm, in words and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import rules
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.tree import Tree
from spark_uplift.errors import ModelError
from spark_uplift.policy.tree_search import Grower

__all__ = ["FORMAT_VERSION", "ActionTree", "build", "from_header", "from_records"]

FORMAT_VERSION = 1
_CATEGORICAL = -1


@dataclass(frozen=True)
class ActionTree:
    """A tree whose leaves are arms.

    Attributes
    ----------
    features : tuple of FeatureBins
        Those that the tree splits on, in the order of its nodes.
    arms : tuple of str
        Control first.
    tree : Tree
        Nodes in heap order; its statistics and effects are empty.
    action : ndarray of shape (nodes,), dtype=int64
        Best arm of all training rows in the node (0 is control); a leaf gives it.
    rows : ndarray of shape (nodes,), dtype=int64
        Training rows.
    gain : ndarray of shape (nodes,), dtype=float64
        What the node's action is worth over control on the training rows, per unit of the whole population [money].
    facts : dict
        JSON-ready: settings, value of the outcome, costs, features with missing values, kind of the tree.
    """

    features: tuple[FeatureBins, ...]
    arms: tuple[str, ...]
    tree: Tree
    action: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float64]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def leaves(self) -> list[int]:
        """Rows of the leaves, from left to right."""
        heap, deepest = self.tree.heap, int(self.tree.depth.max())
        found = [node for node in range(self.tree.n_nodes) if self.tree.left_child[node] < 0]
        return sorted(found, key=lambda node: int(heap[node]) << (deepest - int(self.tree.depth[node])))

    @property
    def best_single(self) -> int:
        """The arm that was best for everybody in training."""
        return int(self.action[0])

    @cached_property
    def paths(self) -> dict[int, list[tuple[int, bool]]]:
        """The path to each node: (row of the node, went left)."""
        found: dict[int, list[tuple[int, bool]]] = {0: []}
        for node in range(self.tree.n_nodes):
            child = int(self.tree.left_child[node])
            if child >= 0:
                found[child] = [*found[node], (node, True)]
                found[child + 1] = [*found[node], (node, False)]
        return found

    def rule(self, node: int) -> str:
        """Return who comes to a node, in words."""
        missing = self.facts.get("missing", ())
        return rules.path_rule(self.features, self.tree, self.paths[node], missing)

    def condition(self, node: int) -> str | None:
        """Return the condition under which units go left at a node, in words; None in a leaf."""
        if self.tree.left_child[node] < 0:
            return None
        bins = self.features[int(self.tree.feature[node])]
        return rules.condition(bins, self.tree, node, True, bins.name in self.facts.get("missing", ()))

    @property
    def rules(self) -> list[str]:
        """One line a leaf: who, how many, which arm."""
        total = max(int(self.rows[0]), 1)
        return [
            f"{self.rule(leaf)}: {self.arms[int(self.action[leaf])]} ({100 * self.rows[leaf] / total:.3g} % of units)"
            for leaf in self.leaves
        ]

    def header(self) -> dict[str, Any]:
        """Return the whole tree, JSON-ready."""
        tree = self.tree
        nodes = [
            {
                "node": int(tree.heap[i]),
                "feature": int(tree.feature[i]),
                "left": sorted(self.left_codes(i)),
                "action": int(self.action[i]),
                "rows": int(self.rows[i]),
                "gain": float(self.gain[i]),
            }
            for i in range(tree.n_nodes)
        ]
        features = [
            {
                "name": bins.name,
                "edges": list(bins.edges),
                "levels": None if bins.levels is None else list(bins.levels),
                "pooled": bins.pooled,
            }
            for bins in self.features
        ]
        return {
            "format": FORMAT_VERSION,
            "arms": list(self.arms),
            "features": features,
            "nodes": nodes,
            "facts": dict(self.facts),
        }

    def left_codes(self, node: int) -> set[int]:
        """Return the codes that go left at a node; none in a leaf."""
        if self.tree.left_child[node] < 0:
            return set()
        return rules.left_codes(self.features[int(self.tree.feature[node])], self.tree, node)

    @property
    def digest(self) -> str:
        """SHA-256 of what the tree decides."""
        header = self.header()
        told = {name: header[name] for name in ("format", "arms", "features", "nodes")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def build(
    grower: Grower,
    features: tuple[FeatureBins, ...],
    arms: tuple[str, ...],
    unit: float,
    facts: Mapping[str, Any],
) -> ActionTree:
    """Return the tree that has been grown, with the features that it uses.

    Parameters
    ----------
    unit : float
        What one step of the grid is worth, per unit of the population [money].
    """
    heaps = sorted(grower.nodes)
    nodes = [grower.nodes[heap] for heap in heaps]
    used = list(dict.fromkeys(node.feature for node in nodes if node.left is not None))
    treatments = grower.spec.treatments
    records = [
        {
            "node": node.heap,
            "feature": -1 if node.left is None else used.index(node.feature),
            "left": [] if node.left is None else np.flatnonzero(node.left).tolist(),
            "action": node.action(treatments),
            "rows": int(node.sums[treatments:].sum()),
            "gain": max(0, int(node.sums[:treatments].max(initial=0))) * unit,
        }
        for node in nodes
    ]
    return from_records(tuple(features[f] for f in used), arms, records, facts)


def from_records(
    features: tuple[FeatureBins, ...],
    arms: tuple[str, ...],
    records: list[dict[str, Any]],
    facts: Mapping[str, Any],
) -> ActionTree:
    """Return the tree of nodes in heap order, each with ``node feature left action rows gain`` as in the header."""
    heap = np.array([record["node"] for record in records], np.int64)
    place = {int(h): i for i, h in enumerate(heap)}
    n = len(records)
    left_child = np.array([place.get(2 * int(h), -1) for h in heap], np.int64)
    feature = np.array([record["feature"] for record in records], np.int32)
    threshold, missing_left = np.zeros(n, np.int16), np.zeros(n, np.bool_)
    mask = np.zeros((n, 4), np.uint64)
    for i, record in enumerate(records):
        if left_child[i] < 0:
            continue
        missing_left[i] = 0 in record["left"]
        threshold[i] = _CATEGORICAL if features[feature[i]].categorical else max(record["left"])
        for code in record["left"]:
            mask[i, code >> 6] |= np.uint64(1 << (code & 63))
    tree = Tree(
        heap=heap,
        feature=feature,
        threshold=threshold,
        missing_left=missing_left,
        mask=mask,
        left_child=left_child,
        gain=np.zeros(n),
        stats=np.zeros((n, len(arms), 5), np.int64),
        effect=np.zeros((n, len(arms) - 1)),
    )
    return ActionTree(
        features,
        arms,
        tree,
        np.array([record["action"] for record in records], np.int64),
        np.array([record["rows"] for record in records], np.int64),
        np.array([record["gain"] for record in records], np.float64),
        dict(facts),
    )


def from_header(header: Mapping[str, Any], path: str) -> ActionTree:
    """Return the tree that `ActionTree.header` wrote.

    Raises
    ------
    ModelError
        When it is of another format version, or damaged.
    """
    if header.get("format") != FORMAT_VERSION:
        raise ModelError(
            f"The policy tree at '{path}' must have format {FORMAT_VERSION}. Got format {header.get('format')} "
            "instead. Hint: load it with the version of spark_uplift that saved it, or a later one."
        )
    try:
        features = tuple(
            FeatureBins(
                one["name"],
                tuple(one["edges"]),
                None if one["levels"] is None else tuple(one["levels"]),
                one["pooled"],
            )
            for one in header["features"]
        )
        return from_records(features, tuple(header["arms"]), list(header["nodes"]), header["facts"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelError(f"The policy tree at '{path}' is damaged: {error!r}.") from error
