"""Clusters are processes: they are found and killed through /proc, and each host is an address of loopback."""

from __future__ import annotations

import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if "tests/cluster/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="clusters of processes need Linux"))
