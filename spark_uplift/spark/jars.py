"""The nine Delta jars that a local session needs on top of pip's PySpark.

``python -m spark_uplift.spark.jars`` resolves them once into a cache folder. Sessions then start from the
files, in half the time that ``spark.jars.packages`` takes and without a network. ``--print`` writes them as
one comma-separated line, ready for ``spark-submit --jars``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from spark_uplift.errors import EnvironmentFaultError

__all__ = ["JAR_NAMES", "PACKAGE", "cache_folder", "cached", "resolve"]

DELTA_VERSION = "4.4.0"
SPARK_VERSION = "4.2"
PACKAGE = f"io.delta:delta-spark_{SPARK_VERSION}_2.13:{DELTA_VERSION}"

JAR_NAMES = (
    f"delta-spark_{SPARK_VERSION}_2.13-{DELTA_VERSION}.jar",
    f"delta-storage-{DELTA_VERSION}.jar",
    f"delta-kernel-api-{DELTA_VERSION}.jar",
    f"delta-kernel-defaults-{DELTA_VERSION}.jar",
    f"delta-kernel-unitycatalog-{DELTA_VERSION}.jar",
    "unitycatalog-client-0.6.0.jar",
    "unitycatalog-hadoop-0.6.0.jar",
    "RoaringBitmap-0.9.25.jar",
    "shims-0.9.25.jar",
)

# Resolving brings 24 more artefacts that pip's PySpark has already; these are the heavy ones, not worth
# fetching.
_EXCLUDES = (
    "org.apache.hadoop:hadoop-client-runtime",
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.parquet:parquet-hadoop",
    "org.apache.logging.log4j:log4j-core",
    "org.apache.logging.log4j:log4j-slf4j2-impl",
    "com.fasterxml.jackson.core:jackson-databind",
    "org.locationtech.jts:jts-core",
)

_PROBE = """
import sys
from pyspark.sql import SparkSession
settings = dict(zip(sys.argv[1::2], sys.argv[2::2]))
builder = SparkSession.builder.master("local[1]")
for key, value in settings.items():
    builder = builder.config(key, value)
builder.getOrCreate().stop()
"""


def cache_folder() -> Path:
    """Return the folder for the jars: ``$SPARK_UPLIFT_JARS``, or one under the user's cache folder."""
    explicit = os.environ.get("SPARK_UPLIFT_JARS")
    if explicit:
        return Path(explicit)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "spark_uplift" / "jars" / f"delta-{DELTA_VERSION}_spark-{SPARK_VERSION}"


def cached() -> list[Path] | None:
    """Return the paths of all nine jars, or None when one is missing."""
    paths = [cache_folder() / name for name in JAR_NAMES]
    return paths if all(path.is_file() and path.stat().st_size > 0 for path in paths) else None


def resolve(timeout: float = 900.0) -> list[Path]:
    """Fetch the jars into the cache folder unless they are there, and return their paths.

    Spark's own resolver does the work in a tiny session of its own process, so mirrors and proxies that are
    set up for Spark or Java count here too.

    Parameters
    ----------
    timeout : float
        Limit for the resolution [seconds].

    Raises
    ------
    EnvironmentFaultError
        If the jars can't be resolved, or the folder can't be written.
    """
    found = cached()
    if found is not None:
        return found
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="spark-uplift-ivy-") as ivy:
            log = _run_probe(Path(ivy), timeout)
            _copy(Path(ivy) / "jars", folder, log)
    except OSError as error:
        raise EnvironmentFaultError(
            f"The Delta jars can't be stored in {folder}: {error}. "
            "Hint: set SPARK_UPLIFT_JARS to a writable folder."
        ) from error
    return [folder / name for name in JAR_NAMES]


def _run_probe(ivy: Path, timeout: float) -> str:
    settings = {
        "spark.jars.packages": PACKAGE,
        "spark.jars.excludes": ",".join(_EXCLUDES),
        "spark.jars.ivy": str(ivy),
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    pairs = [text for pair in settings.items() for text in pair]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, *pairs],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFaultError(
            f"The Delta jars were not resolved within {timeout:g} seconds. "
            "Hint: check the network and try again."
        ) from error
    return done.stdout + done.stderr


def _copy(source: Path, folder: Path, log: str) -> None:
    for name in JAR_NAMES:
        matches = sorted(source.glob(f"*_{name}"))  # the resolver puts the organisation before the name
        if not matches:
            problems = [line for line in log.splitlines() if "unresolved" in line or "not found" in line]
            raise EnvironmentFaultError(
                f"The Delta jar {name} could not be resolved as part of {PACKAGE}. "
                f"{' '.join(problems[:3]) or log[-500:].strip()} "
                f"Hint: check the network, or copy the jars into {folder} by hand."
            )
        partial = folder / f".{name}.{os.getpid()}"
        shutil.copyfile(matches[-1], partial)
        partial.replace(folder / name)  # atomic: a killed run leaves no half jar under the final name


def main(arguments: Sequence[str] | None = None) -> int:
    """Resolve the jars and print where they are."""
    from spark_uplift.spark.session import check_java

    parser = argparse.ArgumentParser(prog="python -m spark_uplift.spark.jars", description=__doc__)
    parser.add_argument("--print", action="store_true", help="print the jars as one comma-separated line")
    options = parser.parse_args(arguments)
    try:
        check_java()
        paths = resolve()
    except EnvironmentFaultError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    line = ",".join(map(str, paths)) if options.print else f"Delta jars: {paths[0].parent}"
    sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
