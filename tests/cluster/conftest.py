"""Clusters are processes: they are found and killed through /proc, and each host is an address of loopback."""

from __future__ import annotations

import sys

import pytest

from tests.cluster.clusters import run_driver
from tests.cluster.kinds import CLUSTER_CONF, KINDS, fit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in item.path.as_posix():
            item.add_marker(
                pytest.mark.timeout(1200)
            )  # the first of a module waits for servers and whole runs
            if sys.platform != "linux":
                item.add_marker(pytest.mark.skip(reason="clusters of processes need Linux"))


@pytest.fixture(scope="session")
def reference() -> dict[str, str]:
    """Digest of each kind, grown by classic Spark in one process on rows as they come."""
    asked = {
        "master": "local[2]",
        "conf": CLUSTER_CONF,
        "fits": {kind: fit(kind) for kind in (*KINDS, "large")},
    }
    found: dict[str, str] = run_driver("fit_digest", asked)["digests"]
    return found
