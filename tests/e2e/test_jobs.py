"""Jobs and the command line as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "conf" / "examples" / "randhie.yaml"


def launched(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment, check=False
    )


def test_spark_submit_runs_a_job_without_a_cluster(tmp_path: Path) -> None:
    submit = Path(sys.executable).with_name("spark-submit")
    if not submit.exists():
        pytest.skip(f"spark-submit is not beside {sys.executable}: the job was NOT submitted")
    job = str(ROOT / "jobs" / "check.py")
    done = launched(
        str(submit), "--master", "local[1]", job, "--conf", str(EXAMPLE), "--dry-run", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "nothing is read or written" in done.stdout
    assert "randhie" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_job_hands_its_exit_code_on(tmp_path: Path) -> None:
    job = str(ROOT / "jobs" / "train.py")
    done = launched(sys.executable, job, "--conf", str(EXAMPLE), "--set", "forest.numTree=3", folder=tmp_path)
    assert done.returncode == 2
    assert "did you mean" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = launched(sys.executable, "-m", "spark_uplift.cli", "demo", "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing is read or written" in done.stdout
    assert list(tmp_path.iterdir()) == []
