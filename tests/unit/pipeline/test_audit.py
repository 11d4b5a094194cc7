"""The audit trail without Spark: what is blotted out, and what is written when a job fails."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from spark_uplift.config import parse_config
from spark_uplift.errors import DataError, TableError
from spark_uplift.pipeline import audit

SECRET = "hunter2"
EXPERIMENT = {"path": "data.parquet", "treatment": "arm", "control": "0", "outcome": "y"}


def config(**sections: Any) -> Any:
    experiment = {**EXPERIMENT, **sections.pop("experiment", {})}
    return parse_config({"name": "trial", "warehouse": "out", "experiment": experiment, **sections})


@pytest.mark.parametrize(
    "key",
    [
        "spark.hadoop.fs.s3a.secret.key",
        "spark.hadoop.fs.s3a.access.key",
        "spark.hadoop.fs.s3a.session.token",
        "spark.hadoop.fs.azure.account.key.store.dfs.core.windows.net",
        "spark.hadoop.fs.azure.sas.box.store.blob.core.windows.net",
        "spark.hadoop.fs.azure.account.oauth2.client.secret",
        "spark.hadoop.fs.gs.auth.service.account.private.key",
        "spark.hadoop.javax.jdo.option.ConnectionPassword",
        "spark.ssl.keyPassword",
        "spark.my.PWD",
        "spark.my.credentials",
    ],
)
def test_settings_with_a_secret_name_are_blotted_out(key: str) -> None:
    shown = audit.public_config(config(spark={"conf": {key: SECRET, "spark.sql.shuffle.partitions": "8"}}))
    assert shown["spark"]["conf"] == {key: "***", "spark.sql.shuffle.partitions": "8"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"https://me:{SECRET}@host:8080/x", "https://***@host:8080/x"),
        (f"postgresql+psycopg://me:{SECRET}@db/mlflow", "postgresql+psycopg://***@db/mlflow"),
        (f"https://host/rows.parquet?sv=2024&sig={SECRET}&se=9", "https://host/rows.parquet?sv=2024&sig=***&se=9"),
        (f"-Xmx1g -Dssl.keyPassword={SECRET} -Da=b", "-Xmx1g -Dssl.keyPassword=*** -Da=b"),
        (f"Endpoint=https://e/;AccountKey={SECRET};v=1", "Endpoint=https://e/;AccountKey=***;v=1"),
        (f"mysql://db/mlflow?user=me&password={SECRET}", "mysql://db/mlflow?user=me&password=***"),
        ("/data/2026/rows.parquet", "/data/2026/rows.parquet"),
        ("s3a://bucket/part=1/design=2/x", "s3a://bucket/part=1/design=2/x"),
    ],
)  # fmt: skip
def test_addresses_lose_their_logins(text: str, left: str) -> None:
    assert audit.public_text(text) == left


def test_the_rest_of_the_configuration_is_shown_as_it_is() -> None:
    given = config(experiment={"features": ["age", "key_account"]}, forest={"numTrees": 7})
    assert audit.public_config(given) == json.loads(given.canonical_json())


class Context:
    """Keeps what is written instead of writing it."""

    def __init__(self, run_config: Any, broken: bool = False) -> None:
        self.settings, self.run_id, self.broken = run_config, "trial-1", broken
        self.written: list[dict[str, Any]] = []

    def frame(self, name: str, rows: list[dict[str, Any]]) -> Any:
        assert name == "job_runs"
        return SimpleNamespace(rows=rows)

    def write(self, df: Any, name: str, **keys: str) -> None:
        if self.broken:
            raise TableError("The warehouse out can't be written: disk full")
        assert (name, keys) == ("job_runs", {"run_id": "trial-1", "job": df.rows[0]["job"]})
        self.written += df.rows

    def small_rows(self, name: str) -> list[dict[str, Any]]:
        assert name == "job_runs"
        return self.written


def test_a_job_that_ends_well_has_one_row() -> None:
    context: Any = Context(config())
    with audit.recorded(context, "train") as record:
        record.inputs["training_view"] = "3"
        record.rows_in, record.digest, record.message = 10, "abc", "2 trees"
    (row,) = context.written
    assert row["status"] == "succeeded"
    assert (row["rows_in"], row["digest"], row["message"], row["inputs"]) == (
        10,
        "abc",
        "2 trees",
        {"training_view": "3"},
    )
    assert row["started_at"] <= row["finished_at"]
    assert row["started_at"].tzinfo is not None
    assert json.loads(row["config"])["name"] == "trial"
    assert audit.last_record(context, "train")["digest"] == "abc"


def test_a_job_that_fails_has_a_row_with_the_reasons_and_the_error_goes_on() -> None:
    context: Any = Context(config())
    faults = [f"The column 'a' of s3a://me:{SECRET}@b must be numeric.", "The column 'b' is missing."]
    with pytest.raises(DataError, match="'b' is missing"), audit.recorded(context, "check"):
        raise DataError(faults)
    (row,) = context.written
    assert row["status"] == "failed"
    assert row["message"] == (
        "DataError: 2 faults in the data: - The column 'a' of s3a://***@b must be numeric. - The column 'b' is missing."
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ValueError()])
def test_an_interrupted_job_has_a_row_as_well(error: BaseException) -> None:
    context: Any = Context(config())
    with pytest.raises(type(error), match="^$"), audit.recorded(context, "train"):
        raise error
    assert [row["status"] for row in context.written] == ["failed"]
    assert context.written[0]["message"].startswith(type(error).__name__)


def test_the_first_error_is_the_one_to_see(caplog: pytest.LogCaptureFixture) -> None:
    context: Any = Context(config(), broken=True)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ValueError, match="the real reason"),
        audit.recorded(context, "train"),
    ):
        raise ValueError("the real reason")
    assert "The row of job 'train' in job_runs can't be written: TableError: The warehouse out" in caplog.text


def test_addresses_in_inputs_and_outputs_are_blotted_out() -> None:
    context: Any = Context(config())
    with audit.recorded(context, "score") as record:
        record.inputs["list"] = f"s3a://k:{SECRET}@bucket/list@1"
        record.outputs["report"] = f"https://h/r?sig={SECRET}"
        record.message = f"read jdbc:x://u:{SECRET}@h"
    assert SECRET not in json.dumps(context.written, default=str)


def test_a_step_that_has_not_succeeded_is_named_with_the_way_out() -> None:
    context: Any = Context(config())
    with pytest.raises(
        TableError, match=r"job 'train' of run 'trial-1' must have succeeded.*Hint: run `spark-uplift train`"
    ):
        audit.last_record(context, "train")
    with pytest.raises(ValueError, match="x"), audit.recorded(context, "train"):
        raise ValueError("x")
    with pytest.raises(TableError, match="Got no record of that"):
        audit.last_record(context, "train")


def test_the_account_is_unknown_where_nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(audit.getpass, "getuser", nobody)
    context: Any = Context(config())
    with audit.recorded(context, "check"):
        pass
    assert context.written[0]["user"] == "unknown"
