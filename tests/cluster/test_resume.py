"""A driver is killed while it trains; the same job, started again, goes on and ends with the same forest."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.cluster.clusters import run_driver, started_driver
from tests.cluster.kinds import CLUSTER_CONF, fit


def test_a_killed_driver_is_started_again(reference, tmp_path: Path) -> None:
    told = fit("large", "data_parallel", partitions=3)
    told["settings"] = {**told["settings"], "checkpointPath": str(tmp_path / "kept")}
    asked = {"master": "local[2]", "conf": CLUSTER_CONF, "fits": {"large": told}}
    with started_driver("fit_digest", asked) as driver:
        driver.wait_for("KEPT 2")
        driver.kill()
        assert driver.process.wait(60) == -signal.SIGKILL
        assert '"digest"' not in driver.stdout, "it ended before it was killed"
        done = [int(line.split()[1]) for line in driver.stdout.splitlines() if line.startswith("KEPT")]
    again = run_driver("fit_digest", asked)
    assert again["digest"] == reference["large"]
    assert again["kept"][0] == done[-1] + 1, "passes that were kept were made again"
    assert again["kept"][-1] == 6
