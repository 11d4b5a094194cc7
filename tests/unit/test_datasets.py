from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from spark_uplift import datasets
from spark_uplift.errors import DataError, EnvironmentFaultError

ROWS = [
    "recency,history_segment,history,mens,womens,zip_code,newbie,channel,segment,visit,conversion,spend",
    "10,2) $100 - $200,142.44,1,0,Surburban,0,Phone,Womens E-Mail,0,0,0",
    "6,3) $200 - $350,329.08,1,1,Rural,1,Web,No E-Mail,1,0,0",
    "7,2) $100 - $200,180.65,0,1,Surburban,1,Web,Mens E-Mail,1,1,29.99",
]
CSV = "\n".join(ROWS).encode() + b"\n"


class Server(http.server.ThreadingHTTPServer):
    """Serves one body at every path; `announced` may lie about its length."""

    body = CSV
    announced: int | None = None
    status = 200
    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        length = len(self.server.body) if self.server.announced is None else self.server.announced
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def sha256(tmp_path: Path) -> str:
    (tmp_path / "original.csv").write_bytes(CSV)
    return datasets.content_sha256(datasets.hillstrom(tmp_path / "original.csv", sha256=None))


def fetch(server: Server, tmp_path: Path, sha256: str | None) -> pd.DataFrame:
    url = f"http://127.0.0.1:{server.server_port}/hillstrom.csv"
    return datasets.hillstrom(url=url, sha256=sha256, cache_dir=tmp_path / "cache", timeout=5)


def test_randhie_has_the_arms_of_the_experiment() -> None:
    pytest.importorskip("statsmodels")
    frame = datasets.load("randhie")
    assert frame["plan"].value_counts().to_dict() == {
        "free": 10997,
        "25 %": 4065,
        "95-100 %": 3727,
        "50 %": 1401,
    }
    assert frame["unit_id"].is_unique
    assert list(frame.columns) == [
        "unit_id", "plan", "mdvis", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp",
    ]  # fmt: skip
    assert not frame.isna().any().any()


def test_randhie_without_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "statsmodels.datasets", None)
    with pytest.raises(
        EnvironmentFaultError, match=r"not installed. Hint: pip install 'spark_uplift\[demo\]'"
    ):
        datasets.randhie()


def test_the_real_hillstrom_rows_have_the_checksum(shared_data) -> None:
    frame = datasets.hillstrom(shared_data("hillstrom"))
    assert frame.groupby("segment")["visit"].mean().round(6).to_dict() == {
        "Mens E-Mail": 0.182757,
        "No E-Mail": 0.106167,
        "Womens E-Mail": 0.151400,
    }
    assert len(frame) == 64000


def test_a_download_is_cached(server: Server, tmp_path: Path, sha256: str) -> None:
    first = fetch(server, tmp_path, sha256)
    second = fetch(server, tmp_path, sha256)
    pd.testing.assert_frame_equal(first, second)
    assert server.requests == 1
    assert list(first["spend"]) == [0.0, 0.0, 29.99]
    assert list(first["row_id"]) == [0, 1, 2]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"hillstrom-{sha256[:12]}.csv"]


def test_a_damaged_cache_is_fetched_again(server: Server, tmp_path: Path, sha256: str) -> None:
    fetch(server, tmp_path, sha256)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(CSV[:-40])
    assert len(fetch(server, tmp_path, sha256)) == 3
    assert server.requests == 2


def test_a_truncated_download_is_refused(server: Server, tmp_path: Path, sha256: str) -> None:
    server.body, server.announced = CSV[:-70], len(CSV)
    with pytest.raises(
        DataError, match=rf"is truncated: {len(CSV) - 70} of {len(CSV)} bytes arrived. Hint: try again"
    ):
        fetch(server, tmp_path, sha256)
    assert not (tmp_path / "cache").exists()


def test_a_download_cut_between_rows_without_a_length_is_refused(
    server: Server, tmp_path: Path, sha256: str
) -> None:
    server.body, server.announced = "\n".join(ROWS[:3]).encode(), -1
    with pytest.raises(DataError, match="truncated or altered: 2 rows with checksum"):
        fetch(server, tmp_path, sha256)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_altered_file_is_refused(server: Server, tmp_path: Path, sha256: str) -> None:
    server.body = CSV.replace(b"29.99", b"28.99")
    with pytest.raises(
        DataError, match="truncated or altered: 3 rows with checksum .* Hint: get the original file"
    ):
        fetch(server, tmp_path, sha256)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>moved</html>", r"can't be read from .*: the columns \['recency'"),
        (b"", "can't be read from .*: No columns"),
        (CSV.replace(b"142.44", b"many"), "can't be read from .*: could not convert"),
    ],
)
def test_a_body_that_is_not_the_file(
    server: Server, tmp_path: Path, sha256: str, body: bytes, message: str
) -> None:
    server.body = body
    with pytest.raises(DataError, match=message):
        fetch(server, tmp_path, sha256)


def test_a_server_that_refuses(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match=r"can't be downloaded from http://127.* Hint: download it by hand"):
        fetch(server, tmp_path, None)


def test_a_body_that_is_too_large(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="has more than 100 bytes"):
        fetch(server, tmp_path, None)


def test_only_web_addresses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The 'url' parameter of hillstrom must be an http or https address"):
        datasets.hillstrom(url="file:///etc/passwd", cache_dir=tmp_path)


def test_a_cache_that_can_not_be_written(server: Server, tmp_path: Path, sha256: str) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(DataError, match="can't be stored in .* Hint: pass cache_dir, or path"):
        fetch(server, tmp_path, sha256)


def test_copies_in_other_formats_and_orders_have_the_same_checksum(tmp_path: Path, sha256: str) -> None:
    frame = datasets.hillstrom(tmp_path / "original.csv", sha256=sha256)
    frame.iloc[::-1].to_parquet(tmp_path / "hillstrom.parquet")
    assert list(datasets.hillstrom(tmp_path, sha256=sha256)["recency"]) == [7, 6, 10]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read from .*nothing.csv"):
        datasets.hillstrom(tmp_path / "nothing.csv")


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(
        DataError, match=r"must be one of \['hillstrom', 'randhie'\].* did you mean 'hillstrom'"
    ):
        datasets.load("hilstrom")
