"""What several tests of forests share: the rows, their DataFrame and one fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tests.spark import forests

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_uplift import UpliftForestModel


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    """The rows of the small experiment; tests copy before they change them."""
    return forests.experiment()


@pytest.fixture(scope="session")
def units(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    """The small experiment."""
    return forests.to_spark(spark, rows).cache()


@pytest.fixture(scope="session")
def model(units: DataFrame) -> UpliftForestModel:
    """A forest of two treatments on the small experiment."""
    return forests.forest(treatmentCol="arms").fit(units)
