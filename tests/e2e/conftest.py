"""One whole run that the tests of this tier look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_uplift.pipeline.context import open_run
from spark_uplift.pipeline.run import run
from tests.e2e.small import Finished, all_rows, configuration, snapshot, write_parquet

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("small")
    write_parquet(all_rows(), folder / "rows.parquet")
    context = open_run(configuration(folder))
    report = run(context)
    return Finished(context, folder, report, snapshot(spark, context.warehouse))
