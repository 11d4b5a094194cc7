"""Through a Spark Connect server everything works, and comes to the very same numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.cluster.clusters import ROOT, connect_server, environment, run_driver
from tests.cluster.kinds import CLUSTER_CONF, KINDS, STRATEGIES, fit
from tests.e2e.small import BAD, GOOD, all_rows, write_parquet

# A relative warehouse means a folder of the client, although the server was started elsewhere.
SECTIONS: dict[str, Any] = {
    "warehouse": "out",
    "forest": {"numTrees": 6, "maxDepth": 3, "minInstancesPerNode": 200, "shrinkage": 50.0},
    "evaluation": {"bootstrap": 5},
}
ELSEWHERE = ("config", "outputs")  # of job_runs: they name folders, and MLflow is on in one run only


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with connect_server() as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    write_parquet(all_rows(), made / "rows.parquet")
    return made


@pytest.fixture(scope="module")
def classic(folder: Path) -> dict[str, Any]:
    sections = {**SECTIONS, "mlflow": {"enabled": False}}
    asked = {"master": "local[2]", "conf": CLUSTER_CONF, "sections": sections}
    said = run_driver("whole_run", str(folder), asked, timeout=550)
    assert said["session"] == "classic"
    return json.loads(Path(said["out"]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def remote(folder: Path, server: str) -> dict[str, Any]:
    # The platform offers a session, so a configured master says nothing.
    asked = {"master": "local[7]", "sections": SECTIONS}
    said = run_driver("whole_run", str(folder), asked, env={"SPARK_REMOTE": server}, timeout=550)
    assert said["session"] == "connect"
    return json.loads(Path(said["out"]).read_text(encoding="utf-8"))


def test_every_table_is_the_same(classic: dict[str, Any], remote: dict[str, Any]) -> None:
    assert remote["run_id"] == classic["run_id"]
    assert remote["tables"].keys() == classic["tables"].keys()
    assert len(remote["tables"]["training_view"]) == GOOD
    assert len(remote["tables"]["quarantine"]) == sum(BAD.values())
    for name, rows in classic["tables"].items():
        if name != "job_runs":
            assert remote["tables"][name] == rows, name


def test_the_audit_trail_is_the_same(classic: dict[str, Any], remote: dict[str, Any]) -> None:
    def jobs(found: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [json.loads(row) for row in found["tables"]["job_runs"]]
        kept = [{k: v for k, v in row.items() if k not in ELSEWHERE} for row in rows]
        return sorted(
            ({**row, "message": _steady(row["message"])} for row in kept), key=lambda row: row["job"]
        )

    assert json.dumps(jobs(remote)) == json.dumps(jobs(classic))  # as text: a count that is missing is NaN
    assert {row["status"] for row in jobs(remote)} == {"succeeded"}


def test_the_public_api_gives_the_same(classic: dict[str, Any], remote: dict[str, Any]) -> None:
    """fit, save, load, transform with intervals, explain, evaluate, and a pyspark.ml evaluator."""
    assert remote["api"] == classic["api"]
    assert len(set(remote["api"]["digests"])) == 1


def test_the_report_and_the_model_in_mlflow(remote: dict[str, Any]) -> None:
    (row,) = [row for row in map(json.loads, remote["tables"]["job_runs"]) if row["job"] == "report"]
    outputs = dict(row["outputs"])
    assert outputs["mlflow_model"].startswith("models:/")
    assert remote["report"] > 100_000


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_forests(server: str, reference: dict[str, str], tmp_path: Path, strategy: str) -> None:
    fits = {kind: fit(kind, strategy, partitions=3, shuffle=9) for kind in KINDS}
    fits["binary"]["settings"]["checkpointPath"] = str(tmp_path)
    digests = run_driver("fit_digest", {"fits": fits}, env={"SPARK_REMOTE": server})["digests"]
    assert digests == {kind: reference[kind] for kind in KINDS}


def test_tests_of_the_spark_tier_pass_as_they_are(server: str) -> None:
    """Among them all ways to spoil a model or a table: errors come later on Connect, and are of other classes."""
    names = [
        "test_persist.py",
        "test_tables.py",
        "test_tuning.py::test_pipelines_are_fitted_saved_and_loaded[1]",
        "test_evaluator.py::test_a_cross_validator_chooses_by_it",
    ]
    with TemporaryDirectory(prefix="su") as folder:  # short: some messages are cut
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/t"),
                *(f"tests/spark/{name}" for name in names),
            ],
            env=environment(Path(folder), SPARK_REMOTE=server), cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert "skipped" not in done.stdout


def _steady(message: str) -> str:
    """Return a message without what differs from run to run."""
    return re.sub(r"\d+ bytes", "… bytes", message)
