from __future__ import annotations

import re

import pytest

from spark_uplift import schemas
from spark_uplift.errors import TableError

NAMES = [
    "experiments",
    "assignments",
    "training_view",
    "quarantine",
    "check_results",
    "model_trees",
    "uplift_scores",
    "uplift_table",
    "evaluation_curves",
    "evaluation_metrics",
    "segments",
    "feature_importance",
    "job_runs",
]
TYPE = r"(STRING|BIGINT|INT|DOUBLE|BOOLEAN|TIMESTAMP|ARRAY<(STRING|BIGINT|DOUBLE)>|MAP<STRING, STRING>)"


def test_tables_that_others_read_keep_their_names() -> None:
    assert set(NAMES) <= set(schemas.TABLES)


@pytest.mark.parametrize("declared", schemas.TABLES.values(), ids=lambda table: table.name)
def test_contract_of_every_table(declared: schemas.Table) -> None:
    names = declared.column_names
    assert names[0] in ("run_id", "model_id")
    assert len(set(names)) == len(names)
    assert declared.comment
    assert set(declared.keys) <= set(names)
    assert declared.replace_keys == declared.keys[: len(declared.replace_keys)] != ()
    assert set(declared.clustering) <= set(names)
    for column in declared.columns:
        assert re.fullmatch(r"[a-z_]+", column.name)
        assert re.fullmatch(TYPE, column.type), column
        assert len(column.comment) > 5, column


def test_numbers_name_their_unit_or_say_that_they_have_none() -> None:
    without = {
        column.name
        for declared in schemas.TABLES.values()
        for column in declared.columns
        if column.type in ("DOUBLE", "ARRAY<DOUBLE>") and not re.search(r"\[.+\]|`unit`", column.comment)
    }
    # weights, gains, importances and metrics are in units that their comments spell out.
    assert without == {"weight", "gain", "importance", "std_error", "value", "lower", "upper"}


def test_ddl_quotes_comments() -> None:
    column = schemas.Column("a", "STRING", "the unit's \\ own")
    assert column.ddl == "`a` STRING COMMENT 'the unit\\'s \\\\ own'"


def test_only_tables_of_features_are_open() -> None:
    opened = [name for name, declared in schemas.TABLES.items() if declared.open_schema]
    assert opened == ["training_view", "campaign_features"]


def test_unknown_table() -> None:
    with pytest.raises(
        TableError, match=r"There is no table named 'segment'\..*Hint: did you mean 'segments'\?"
    ):
        schemas.table("segment")
