from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from spark_uplift import schemas
from spark_uplift.errors import DataError
from spark_uplift.report import ReportInputs
from spark_uplift.report.inputs import COLUMNS_READ, of_one_model
from tests.unit.report import samples, samples_decided

MADE = (
    *("experiment", "score_histogram", "quarantine_counts", "arm_counts", "decision_reasons", "other_curves"),
)
TABLES = {"experiment": "experiments"} | {name: name for name in COLUMNS_READ if name not in MADE}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_read_is_a_column_of_the_table(name: str) -> None:
    table = schemas.TABLES[TABLES[name]]
    assert set(COLUMNS_READ[name]) <= {column.name for column in table.columns}


def test_inputs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="segments"):
        ReportInputs(experiment=[]).segments = []  # type: ignore[misc]


def test_all_faults_are_reported_together() -> None:
    bad: dict[str, Any] = {"experiment": [{}], "segments": [{"rule": "x"}], "outcome": {"kind": "count"}}
    with pytest.raises(DataError, match="3 faults in the data") as caught:
        ReportInputs(**bad)
    assert any(
        "'segments' parameter of ReportInputs" in fault and "'uplift'" in fault
        for fault in caught.value.faults
    )
    assert any("Got 'count' instead" in fault for fault in caught.value.faults)


def test_two_experiments_are_refused() -> None:
    row = samples.conversions(n=3000).experiment[0]
    with pytest.raises(DataError, match="must be one row or none. Got '2 rows' instead"):
        ReportInputs(experiment=[row, row])


def test_rows_of_a_second_model_are_parted_from_the_page_s_own() -> None:
    inputs = samples_decided.everything(n=3000)
    own = of_one_model(inputs)
    assert {row["model_id"] for row in own.evaluation_curves} == {samples.RUN["model_id"]}
    assert {row["model_id"] for row in own.other_curves} == {samples_decided.OTHER}
    assert len(own.evaluation_curves) + len(own.other_curves) == len(inputs.evaluation_curves)


def test_without_a_model_s_name_all_rows_are_the_page_s() -> None:
    inputs = samples.conversions(n=3000)
    unnamed = dataclasses.replace(inputs, model_card={})
    assert of_one_model(unnamed) is unnamed
    elsewhere = dataclasses.replace(inputs, model_card={"model_id": "another"})
    assert of_one_model(elsewhere) is elsewhere
