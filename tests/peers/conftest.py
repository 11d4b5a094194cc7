"""What the comparisons share: real rows, and one H2O server for the whole run."""

from __future__ import annotations

import shutil
import socket
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def hillstrom(shared_data):
    """y, treated and score of a real experiment: e-mails for men's articles against none."""
    pd = pytest.importorskip("pandas")
    rows = pd.read_parquet(shared_data("hillstrom/hillstrom.parquet"))
    rows = rows[rows.segment.isin(["Mens E-Mail", "No E-Mail"])].reset_index(drop=True)

    def of(outcome, score, ties=True):
        values = rows[score].to_numpy(float)
        if not ties:  # as in the reference numbers
            values = values + 1e-9 * rows.row_id.to_numpy()
        return rows[outcome].to_numpy(float), (rows.segment == "Mens E-Mail").to_numpy(int), values

    return of


@pytest.fixture(scope="session")
def h2o_server() -> Iterator[object]:
    """One small JVM of H2O for the whole run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        h2o = pytest.importorskip("h2o", reason="h2o is missing: these tests run in the peers' environment")
        if shutil.which("java") is None:
            pytest.skip("there is no Java for H2O")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        h2o.init(
            ip="127.0.0.1",
            port=port,
            nthreads=1,
            max_mem_size="512m",
            strict_version_check=False,
            verbose=False,
        )
        h2o.no_progress()
    yield h2o
    h2o.cluster().shutdown()
