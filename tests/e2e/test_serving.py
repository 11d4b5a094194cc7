"""``mlflow models serve``: rows as JSON in, scores out, in a process without Spark."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from spark_uplift import UpliftForestModel, tracking
from tests.unit import grown
from tests.unit.grown import HOSTILE, TOWN

STARTS_WITHIN = 240.0  # seconds, with room for a busy machine
FEATURES = [HOSTILE, "age", TOWN]

Ask = Callable[[Any], tuple[int, Any]]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def answer(url: str, data: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and server.poll() is None:
        try:
            if answer(f"{url}/ping")[0] == 200:
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the server did not answer within {STARTS_WITHIN:.0f} s:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    root = tmp_path_factory.mktemp("serving")
    info = tracking.log_run(grown.forest(), warehouse=root / "w", run_id="r-1", run_name="served")
    files = [p for p in (root / "w" / "mlartifacts").rglob("*") if p.is_file()]
    assert len(files) > 5
    assert not [p for p in files if "pkl" in p.name or "pickle" in p.name or p.read_bytes()[:1] == b"\x80"]
    port, log = free_port(), root / "server.log"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
    ]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": info.tracking_uri,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--model-uri", "models:/served@champion"],
            stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=root, start_new_session=True,
        )  # fmt: skip
    try:
        wait(f"http://127.0.0.1:{port}", server, log)

        def post(payload: Any) -> tuple[int, Any]:
            status, body = answer(f"http://127.0.0.1:{port}/invocations", json.dumps(payload).encode())
            return status, json.loads(body)

        yield post
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the command starts the server as its child
        server.wait(timeout=30)


def rows(n: int = 40) -> pd.DataFrame:
    frame = grown.rows(n, seed=9)
    return frame.assign(age=frame["age"].astype(int)).astype(object).where(frame.notna(), None)


def arrays(records: list[dict[str, Any]]) -> np.ndarray:
    return np.array([record["uplift"] for record in records])


def test_scores_are_those_of_transform_to_the_bit(ask: Ask, spark: SparkSession) -> None:
    frame = rows()
    status, found = ask({"dataframe_records": frame.to_dict(orient="records")})
    assert status == 200, found
    model = UpliftForestModel(grown.forest())
    names = ", ".join(
        f"`{n.replace('`', '``')}` {t}" for n, t in zip(FEATURES, ("double", "long", "string"), strict=True)
    )
    df = spark.createDataFrame(
        [(i, *row) for i, row in enumerate(frame.itertuples(index=False))], f"i long, {names}"
    )
    expected = model.transform(df).orderBy("i").collect()
    np.testing.assert_array_equal(arrays(found["predictions"]), np.array([row["uplift"] for row in expected]))
    assert [record["recommended"] for record in found["predictions"]] == [
        row["recommended"] for row in expected
    ]


def test_columns_in_any_order_and_split_form(ask: Ask) -> None:
    frame = rows()[[TOWN, HOSTILE, "age"]].assign(more=1)
    one = ask({"dataframe_split": frame.to_dict(orient="split")})
    two = ask({"dataframe_records": rows().to_dict(orient="records")})
    assert one == two
    assert one[0] == 200


def test_missing_values_and_unseen_levels(ask: Ask) -> None:
    nothing = dict.fromkeys(FEATURES)
    status, found = ask({"dataframe_records": [nothing, {**nothing, TOWN: "elm"}]})
    assert status == 200, found
    assert found["predictions"][0] == found["predictions"][1]


def test_a_missing_column_is_named(ask: Ask) -> None:
    status, found = ask({"dataframe_records": [{"age": 30, TOWN: "ash"}]})
    assert status == 400
    assert HOSTILE in found["message"]


def test_text_for_a_number_is_refused(ask: Ask) -> None:
    status, found = ask({"dataframe_records": [{HOSTILE: "much", "age": 30, TOWN: "ash"}]})
    assert status == 400
    assert HOSTILE in found["message"]
