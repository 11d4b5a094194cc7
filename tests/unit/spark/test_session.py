"""What can be said about sessions without starting a JVM."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from spark_uplift.errors import EnvironmentFaultError
from spark_uplift.spark import jars, session


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a java that tells the given version at JAVA_HOME."""

    def install(version: str) -> None:
        script = tmp_path / "bin" / "java"
        script.parent.mkdir()
        script.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
        script.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    return install


@pytest.mark.parametrize(
    ("text", "major"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('openjdk version "21" 2023-09-19', 21)],
)
def test_java_that_fits(java, text: str, major: int) -> None:
    java(text)
    assert session.check_java() == major


@pytest.mark.parametrize(
    ("text", "major"), [('java version "1.8.0_392"', 8), ('openjdk version "25.0.1"', 25)]
)
def test_java_that_does_not_fit_gets_one_sentence_with_the_command(java, text: str, major: int) -> None:
    java(text)
    with pytest.raises(
        EnvironmentFaultError, match=rf"^Java {major} was found; Spark needs Java 17 or 21\. Hint: .*install"
    ):
        session.check_java()


def test_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        EnvironmentFaultError, match=r"^Java was not found; Spark needs Java 17 or 21\. Hint: .*install"
    ):
        session.check_java()


def test_a_java_that_does_not_run_counts_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert session.java_version() is None


def test_cached_jars_are_used_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_UPLIFT_JARS", str(tmp_path))
    assert session.local_conf()["spark.jars.packages"] == "io.delta:delta-spark_4.2_2.13:4.4.0"
    for name in jars.JAR_NAMES:
        (tmp_path / name).write_bytes(b"jar")
    conf = session.local_conf("local[3]")
    assert "spark.jars.packages" not in conf
    assert len(conf["spark.jars"].split(",")) == len(jars.JAR_NAMES) == 9
    assert conf["spark.master"] == "local[3]"
    assert jars.resolve() == [tmp_path / name for name in jars.JAR_NAMES]


def test_an_empty_jar_counts_as_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_UPLIFT_JARS", str(tmp_path))
    for name in jars.JAR_NAMES:
        (tmp_path / name).write_bytes(b"")
    assert jars.cached() is None


def test_jars_that_can_not_be_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SPARK_UPLIFT_JARS", str(tmp_path / "file" / "jars"))
    with pytest.raises(EnvironmentFaultError, match="can't be stored in .* Hint: set SPARK_UPLIFT_JARS"):
        jars.resolve()


def test_jars_that_can_not_be_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_UPLIFT_JARS", str(tmp_path))
    monkeypatch.setattr(
        jars, "_run_probe", lambda ivy, timeout: "unresolved dependency: io.delta#x: not found"
    )
    with pytest.raises(
        EnvironmentFaultError, match=r"could not be resolved as part of io\.delta.*unresolved dependency"
    ):
        jars.resolve()


def test_jars_are_copied_under_their_own_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_UPLIFT_JARS", str(tmp_path))

    def probe(ivy: Path, timeout: float) -> str:
        (ivy / "jars").mkdir()
        for name in jars.JAR_NAMES:
            (ivy / "jars" / f"org.example_{name}").write_text(name)
        return ""

    monkeypatch.setattr(jars, "_run_probe", probe)
    assert [path.read_text() for path in jars.resolve()] == list(jars.JAR_NAMES)
    assert sorted(os.listdir(tmp_path)) == sorted(jars.JAR_NAMES)


def test_the_worker_cache_is_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    session._offer_numba_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "spark_uplift" / "numba")


def test_a_connect_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    for name in ("https_proxy", "HTTPS_PROXY", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.2)
    with socket.socket() as bound:  # taken, so that nobody else listens there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        monkeypatch.setenv("SPARK_REMOTE", f"sc://127.0.0.1:{port}/;use_ssl=false")
        message = rf"^The Spark Connect server at 127\.0\.0\.1:{port} .* does not answer: .* Hint: start it"
        with pytest.raises(EnvironmentFaultError, match=message):
            session.get_session(master="local[2]")
        bound.listen()
        session._require_answer(f"sc://127.0.0.1:{port}")
    session._require_answer("unix:///some/socket")


def test_what_connect_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import SparkSession

    class Builder:
        def appName(self, name: str) -> Builder:
            return self

        def getOrCreate(self) -> None:
            raise ImportError("grpcio >= 1.48.1 must be installed; however, it was not found.")

    monkeypatch.setenv("SPARK_REMOTE", "unix:///some/socket")
    monkeypatch.setattr(SparkSession, "builder", Builder())
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    with pytest.raises(
        EnvironmentFaultError, match=r"grpcio >= 1\.48\.1 .* Hint: pip install 'spark_uplift\[connect\]'"
    ):
        session.get_session()
