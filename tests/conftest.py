"""Fixtures that all tiers share: one Spark session, and the real experiments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parent.parent
TIERS = ("unit", "spark", "e2e", "cluster", "peers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker of its folder, so that ``-m`` and the folders agree."""
    for item in items:
        parts = Path(str(item.fspath)).relative_to(ROOT / "tests").parts
        if parts[0] in TIERS:
            item.add_marker(parts[0])


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One local session for the whole run; it starts with the first test that asks for it."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from spark_uplift.spark.session import get_session, local_conf

    java_options = local_conf()["spark.driver.extraJavaOptions"]
    session = get_session(
        "spark_uplift-tests",
        master="local[2]",
        conf={
            "spark.driver.memory": "2g",
            # The optimising compiler does not pay back within a test run; this halves the start. Its code cache is then
            # 48 MB by default, which thousands of queries fill: nothing would be compiled from there on.
            "spark.driver.extraJavaOptions": f"{java_options} -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=384m",
            "spark.sql.shuffle.partitions": "2",
            "spark.default.parallelism": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
            # mapInArrow matches columns by position; with this a swap is an error instead of wrong numbers.
            "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("catalog")),
        },
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from a name below ``../shared/data`` to its path; it skips when that is absent."""

    def locate(name: str) -> Path:
        found = ROOT.parent / "shared" / "data" / name
        if not found.exists():
            pytest.skip(f"the real experiment {name!r} is not at {found}")
        return found

    return locate
