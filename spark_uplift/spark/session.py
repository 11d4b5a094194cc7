"""Where the Spark session comes from: the one that is there, or a local one with Delta."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from spark_uplift.errors import EnvironmentFaultError
from spark_uplift.spark import jars

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["check_java", "get_session", "is_connect", "java_version", "local_conf"]

JAVA_VERSIONS = (17, 21)  # the least and the latest that Spark 4.2 is known to run on

CONNECT_PORT = 15002  # Spark's default
ANSWER_SECONDS = 15.0  # a server that is starting gets this long

_DELTA_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def get_session(
    app_name: str = "spark_uplift",
    master: str | None = None,
    conf: Mapping[str, str] | None = None,
) -> SparkSession:
    """Return the active session, or start one.

    An active session is returned as it is. Under ``spark-submit``, Spark Connect (``SPARK_REMOTE=sc://host:port``)
    and Databricks the session that the platform offers is used, and ``master`` says nothing; Delta's extension is
    added only where the submission did not set any. Otherwise a local session with Delta starts, from cached jars
    when they are there.

    Parameters
    ----------
    app_name : str
        Name of the application.
    master : str, optional
        Spark master of a new local session; ``local[*]`` by default.
    conf : mapping of str to str, optional
        Further Spark settings for a new session; they win over the defaults.

    Raises
    ------
    EnvironmentFaultError
        If pyspark or what it needs for Spark Connect is not installed, the Connect server does not answer, or a
        local session would need a Java that is not there.
    """
    if find_spec("pyspark") is None:
        raise EnvironmentFaultError(
            "PySpark is not installed. Hint: pip install 'spark_uplift[spark]' "
            "(not on Databricks, which brings its own)."
        )
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    if _platform_has_session():
        settings = dict(conf or {})
        _require_answer(os.environ.get("SPARK_REMOTE", ""))
    elif "PYSPARK_GATEWAY_PORT" in os.environ:
        settings = _submitted_conf() | dict(conf or {})
    else:
        settings = _local_settings(master, conf or {})
    builder = SparkSession.builder.appName(app_name)
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except ImportError as error:  # pyspark looks for what Connect needs only now
        raise EnvironmentFaultError(
            f"Spark Connect needs further packages: {error} Hint: pip install 'spark_uplift[connect]'."
        ) from error


def is_connect(spark: SparkSession) -> bool:
    """Tell whether the session is Spark Connect's, without touching anything that it lacks."""
    return ".connect." in type(spark).__module__


def _platform_has_session() -> bool:
    signs = ("DATABRICKS_RUNTIME_VERSION", "SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED")
    return any(os.environ.get(sign) for sign in signs)


def _require_answer(url: str) -> None:
    """Fail within seconds when nobody listens at a Connect server's address; pyspark itself tries for ten minutes."""
    found = re.match(r"sc://(\[[^\]]+\]|[^:/;]+)(?::(\d+))?", url)
    if not found or any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "grpc_proxy")):
        return  # an address that only pyspark knows how to reach
    address = found.group(1).strip("[]"), int(found.group(2) or CONNECT_PORT)
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            socket.create_connection(address, timeout=ANSWER_SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise EnvironmentFaultError(
                    f"The Spark Connect server at {address[0]}:{address[1]} (SPARK_REMOTE) does not answer: {error}. "
                    "Hint: start it, or unset SPARK_REMOTE for a local session."
                ) from error
        time.sleep(0.5)


def _submitted_conf() -> dict[str, str]:
    """Return the Delta settings that the submission left open; its master and resources are not ours."""
    from pyspark import SparkConf

    submitted = SparkConf()
    return {key: value for key, value in _DELTA_CONF.items() if not submitted.contains(key)}


def _local_settings(master: str | None, conf: Mapping[str, str]) -> dict[str, str]:
    check_java()
    # Workers must run this interpreter, or they would not find pyarrow, numba and the package.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    os.environ.setdefault(
        "SPARK_LOCAL_IP", "127.0.0.1"
    )  # nothing of a local session listens beyond this machine
    _offer_numba_cache()
    return local_conf(master) | dict(conf)


def local_conf(master: str | None = None) -> dict[str, str]:
    """Return the settings of a local session, each with its reason beside it.

    Parameters
    ----------
    master : str, optional
        Spark master; ``local[*]`` by default.
    """
    cores = os.cpu_count() or 1
    found = jars.cached()
    log4j = Path(__file__).with_name("log4j2.properties")
    return {
        "spark.master": master or "local[*]",
        # Files start a session in half the time of a resolution, and offline.
        **({"spark.jars": ",".join(map(str, found))} if found else {"spark.jars.packages": jars.PACKAGE}),
        **_DELTA_CONF,
        # The default of 50 tasks to replay a table's log costs seconds on a few cores.
        "spark.databricks.delta.snapshotPartitions": "2",
        # 200 shuffle partitions are meant for clusters.
        "spark.sql.shuffle.partitions": str(max(2, min(cores, 16))),
        # One JVM does everything; the default of 1 GiB is too little for shuffles and broadcasts of blocks.
        "spark.driver.memory": _driver_memory(),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",  # saves start-up time and a port
        "spark.ui.showConsoleProgress": "false",  # it would write over our own progress
        # Tables are addressed by path; without this Spark leaves an empty folder where it was started.
        "spark.sql.warehouse.dir": (Path(tempfile.gettempdir()) / "spark_uplift-catalog").as_uri(),
        "spark.sql.session.timeZone": "UTC",  # timestamps in tables are UTC
        # A stack capture at each DataFrame call, of no use where errors name our own functions.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j.as_uri()}",
    }


def _driver_memory() -> str:
    """Return a quarter of the machine's memory, at least 1 and at most 8 GiB, as Spark writes it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "2g"
    return f"{min(8192, max(1024, total // 4 // 2**20))}m"


def _offer_numba_cache() -> None:
    """Point workers to a writable folder for compiled kernels, so that a fresh one need not compile."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (home / "spark_uplift" / "numba", Path(tempfile.gettempdir()) / "spark_uplift-numba"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = str(folder)
            return


def check_java() -> int:
    """Return the major version of the Java that Spark would start.

    Raises
    ------
    EnvironmentFaultError
        If there is no Java, or none that Spark 4.2 runs on.
    """
    lowest, highest = JAVA_VERSIONS
    version = java_version()
    if version is None:
        raise EnvironmentFaultError(
            f"Java was not found; Spark needs Java {lowest} or {highest}. Hint: install it with "
            f"'{_java_install_command()}', or set JAVA_HOME to one that is there."
        )
    if not lowest <= version <= highest:
        raise EnvironmentFaultError(
            f"Java {version} was found; Spark needs Java {lowest} or {highest}. Hint: install it with "
            f"'{_java_install_command()}' and set JAVA_HOME to it."
        )
    return version


def java_version() -> int | None:
    """Return the major version of the Java in ``$JAVA_HOME`` or on the path, or None without one."""
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if command is None:
        return None
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # 'openjdk version "17.0.15" …', and 'java version "1.8.0_392"' for releases before 9.
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found.group(1)) if found else None


def _java_install_command() -> str:
    if sys.platform == "darwin":
        return "brew install openjdk@17"
    for tool, command in (
        ("apt-get", "sudo apt-get install -y openjdk-17-jre-headless"),
        ("dnf", "sudo dnf install -y java-17-openjdk-headless"),
        ("apk", "sudo apk add openjdk17-jre-headless"),
    ):
        if shutil.which(tool):
            return command
    return "conda install -c conda-forge openjdk=17"
