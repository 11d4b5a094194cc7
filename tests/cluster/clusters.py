"""Real clusters on loopback: a standalone master with workers, a Spark Connect server, and drivers as processes.

Everything runs in process groups of its own, which are killed at the end, and dies with the process that started it
(Linux's parent-death signal), so that nothing is left behind when that one is killed itself. Classic Spark and Spark
Connect can't share a Python process, and tests kill drivers, so each driver is a program below ``drivers``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyspark

from spark_uplift.spark.session import local_conf

__all__ = [
    "Driver",
    "connect_server",
    "environment",
    "events",
    "executor_host",
    "executor_pids",
    "free_port",
    "kill_busy_executor",
    "kill_executor",
    "run_driver",
    "standalone",
    "started_driver",
    "watched",
]

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).resolve().parent / "drivers"
SPARK_HOME = Path(pyspark.__file__).resolve().parent
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
CONNECT_SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"

# The optimising compiler does not pay back within a test, and several collectors would fight for two cores.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
START_SECONDS = 120.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, **further: str) -> dict[str, str]:
    """Return this process's environment without a session's leftovers, with Spark's files below ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    own = {name: os.environ[name] for name in ("SPARK_UPLIFT_JARS",) if name in os.environ}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **kept,
        **own,
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA,
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": path,
        **further,
    }


@contextmanager
def standalone(executors: int = 2, cores: int = 1, memory: str = "1g") -> Iterator[str]:
    """Run a standalone master and one worker an executor; yields ``spark://127.0.0.1:port``.

    Each worker has a loopback address of its own, as machines do: Spark runs no speculative copy of a task on the host
    that runs it already. An application gets all cores of all workers unless it asks for fewer.

    Parameters
    ----------
    executors : int
        Workers; each starts one executor an application, and a new one for each that dies.
    cores : int
        Cores of a worker.
    memory : str
        Memory of a worker, as Spark writes it; ``spark.executor.memory`` must fit in it (1g by default).
    """
    port, web = free_port(), free_port()
    url = f"spark://127.0.0.1:{port}"
    with _folder("master") as folder, _processes() as start:
        master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port)]
        start("master", _spark("spark-class", *master, "--webui-port", str(web)), environment(folder))
        _wait(lambda: _workers(web) is not None, "the master", folder)
        for i in range(executors):
            host = f"127.0.0.{2 + i}"
            worker = ["org.apache.spark.deploy.worker.Worker", "--host", host, "--webui-port", "0"]
            sizes = ["--cores", str(cores), "--memory", memory, "--work-dir", str(folder / f"worker-{i}")]
            command = _spark("spark-class", *worker, *sizes, url)
            start(f"worker-{i}", command, environment(folder, SPARK_LOCAL_IP=host))
        _wait(lambda: _workers(web) == executors, f"{executors} workers", folder)
        yield url


@contextmanager
def connect_server(master: str = "local[2]", conf: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a Spark Connect server with Delta that listens on loopback alone; yields ``sc://127.0.0.1:port``.

    Parameters
    ----------
    master : str
        Where the server runs its tasks: ``local[n]``, or the URL of `standalone`.
    conf : mapping of str to str, optional
        Further settings of the server.
    """
    port = free_port()
    settings = {
        **local_conf(master),
        "spark.driver.defaultJavaOptions": QUICK_JAVA,
        "spark.executor.defaultJavaOptions": QUICK_JAVA,
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.shuffle.partitions": "2",
        # mapInArrow matches columns by position; with this a swap is an error instead of wrong numbers.
        "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
        **(conf or {}),
    }
    pairs = [text for key, value in settings.items() for text in ("--conf", f"{key}={value}")]
    with _folder("connect") as folder, _processes() as start:
        settings_dir = f"spark.sql.warehouse.dir={folder / 'catalog'}"
        command = _spark("spark-submit", "--class", CONNECT_SERVER, *pairs, "--conf", settings_dir)
        # spark-submit sizes the server's heap as that of a daemon, not as a driver's.
        server = start("server", command, environment(folder, SPARK_DAEMON_MEMORY="1500m"))
        _wait(lambda: _listens(port, server, folder), "the Spark Connect server", folder)
        yield f"sc://127.0.0.1:{port}"


class Driver:
    """A driver program that runs: its process, what it has printed, and its result.

    Parameters
    ----------
    process : subprocess.Popen
        Leader of a process group of its own; the driver's JVM belongs to it.
    folder : Path
        Holds ``stdout`` and ``stderr``.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return (self.folder / "stdout").read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """Its log so far, that of Spark included."""
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """SIGKILL the driver and its JVM, as a lost machine would."""
        _kill_group(self.process)

    def wait_for(self, mark: str, timeout: float = 120.0) -> None:
        """Wait until the driver has printed a line that contains ``mark``."""
        _wait(lambda: self._has(mark), f"{mark!r} in the driver's output", self.folder, timeout, pause=0.02)

    def result(self, timeout: float = 300.0) -> dict[str, Any]:
        """Wait for the end and return the JSON object of the last line that the program printed."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"The driver took more than {timeout:g} s.\n{_tail(self.folder)}") from None
        if code != 0:
            raise RuntimeError(f"The driver ended with {code}.\n{_tail(self.folder)}")
        found: dict[str, Any] = json.loads(self.stdout.strip().splitlines()[-1])
        return found

    def _has(self, mark: str) -> bool:
        if mark in self.stdout:
            return True
        if self.process.poll() is not None:
            raise RuntimeError(f"The driver ended without {mark!r}.\n{_tail(self.folder)}")
        return False


@contextmanager
def started_driver(script: str, *args: Any, env: Mapping[str, str] | None = None) -> Iterator[Driver]:
    """Start a program of ``drivers`` (a name without ``.py``, or a path); it is killed at the end if it still runs.

    Parameters
    ----------
    script : str
        Program.
    *args
        Its arguments; what is not text is passed as JSON.
    env : mapping of str to str, optional
        Further environment variables, e.g. ``SPARK_REMOTE``.
    """
    path = Path(script) if script.endswith(".py") else DRIVERS / f"{script}.py"
    texts = [arg if isinstance(arg, str) else json.dumps(arg) for arg in args]
    with _folder(path.stem) as folder:
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            process = subprocess.Popen(
                [sys.executable, str(path), *texts],
                env=environment(folder, **(env or {})), cwd=folder, stdout=out, stderr=err, start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        try:
            yield Driver(process, folder)
        finally:
            _kill_group(process)


def run_driver(
    script: str, *args: Any, env: Mapping[str, str] | None = None, timeout: float = 300.0
) -> dict[str, Any]:
    """Run a program of ``drivers`` to its end and return the JSON object that it printed last."""
    with started_driver(script, *args, env=env) as driver:
        return driver.result(timeout)


def executor_pids(url: str) -> list[int]:
    """Return the executors of a `standalone` cluster: JVMs whose parent is a worker of that master."""
    processes = dict(_commands())
    found = []
    for pid, command in processes.items():
        if EXECUTOR in command:
            parent = processes.get(_parent(pid), [])
            if parent and parent[-1] == url:
                found.append(pid)
    return sorted(found)


def kill_executor(url: str, pid: int | None = None) -> int:
    """SIGKILL one executor of a `standalone` cluster, the first unless ``pid`` is given; return its process id."""
    pids = executor_pids(url)
    chosen = pids[0] if pid is None else pid
    if chosen not in pids:
        raise ValueError(f"The process {chosen} is no executor of {url}; these are: {pids}")
    os.kill(chosen, signal.SIGKILL)
    _wait(lambda: chosen not in executor_pids(url), f"the end of executor {chosen}", pause=0.02)
    return chosen


def kill_busy_executor(url: str, ui: int, timeout: float = 60.0) -> int:
    """SIGKILL an executor while it runs a task, and return its process id.

    Parameters
    ----------
    url : str
        The `standalone` cluster.
    ui : int
        Port of the application's web pages, see `watched`.
    timeout : float
        How long to wait for a task [seconds].
    """
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        for pid in _busy_executors(url, ui):
            os.kill(pid, signal.SIGSTOP)  # its task can't end now, so what the driver hears next is the truth
            time.sleep(0.3)
            if pid in _busy_executors(url, ui):
                return kill_executor(url, pid)
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
    raise TimeoutError(f"No executor of {url} ran a task within {timeout:g} s.")


def watched(ui: int, log: Path) -> dict[str, str]:
    """Return settings of an application for `kill_busy_executor` and `events`."""
    return {
        "spark.ui.enabled": "true",
        "spark.ui.port": str(ui),
        "spark.ui.liveUpdate.period": "0",  # say what is, not what was 100 ms ago
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
    }


def events(log: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind (e.g. ``SparkListenerTaskEnd``) that applications logged in a folder."""
    lines = [line for file in sorted(log.iterdir()) for line in file.read_text(encoding="utf-8").splitlines()]
    return [event for event in map(json.loads, lines) if event["Event"] == kind]


def executor_host(pid: int) -> str:
    """Return the loopback address of an executor, by which Spark's own records name it; empty when it has ended."""
    command = dict(_commands()).get(pid, [])
    return command[command.index("--hostname") + 1] if "--hostname" in command else ""


def _spark(program: str, *args: str) -> list[str]:
    return [str(SPARK_HOME / "bin" / program), *args]


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    # Executors may still be writing while the folder goes.
    with tempfile.TemporaryDirectory(prefix=f"spark_uplift-{name}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _processes() -> Iterator[Callable[[str, list[str], dict[str, str]], subprocess.Popen[bytes]]]:
    """Yield a function that starts processes, each in a group of its own; kill the groups at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        folder = Path(env["SPARK_LOCAL_DIRS"])
        with open(folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        running.append(process)
        return process

    try:
        yield start
    finally:
        for process in reversed(running):
            _kill_group(process)


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(
        pr_set_pdeathsig, signal.SIGKILL
    )  # kept by exec, so Spark's scripts hand it on to Java


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _workers(web: int) -> int | None:
    """Return how many workers the master knows alive, or None while it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{web}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except OSError:
        return None


def _busy_executors(url: str, ui: int) -> list[int]:
    """Return the executors that run a task, by what the driver's web pages say."""
    api = f"http://127.0.0.1:{ui}/api/v1/applications"
    try:
        with urlopen(api, timeout=5) as answer:
            application = json.load(answer)[0]["id"]
        with urlopen(f"{api}/{application}/executors", timeout=5) as answer:
            found = json.load(answer)
    except OSError:
        return []
    hosts = {
        row["hostPort"].split(":")[0] for row in found if row["id"] != "driver" and row["activeTasks"] > 0
    }
    return [pid for pid in executor_pids(url) if executor_host(pid) in hosts]


def _listens(port: int, server: subprocess.Popen[bytes], folder: Path) -> bool:
    if server.poll() is not None:
        raise RuntimeError(f"The server ended with {server.returncode} before it listened.\n{_tail(folder)}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(
    ready: Callable[[], bool],
    what: str,
    folder: Path | None = None,
    timeout: float = START_SECONDS,
    pause: float = 0.1,
) -> None:
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"No {what} within {timeout:g} s.\n{_tail(folder) if folder else ''}")
        time.sleep(pause)


def _tail(folder: Path, characters: int = 6000) -> str:
    """Return the ends of a folder's logs, for messages."""
    logs = [*folder.glob("*.log"), *folder.glob("std*")]
    texts = [(path.name, path.read_text(encoding="utf-8", errors="replace")) for path in sorted(logs)]
    return "\n".join(f"--- {name}\n{text[-characters:]}" for name, text in texts)


def _commands() -> Iterator[tuple[int, list[str]]]:
    """Yield the processes of this machine: id and command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_text(errors="replace").split("\0")[:-1]


def _parent(pid: int) -> int:
    try:
        # The name in brackets may hold spaces; the parent's id is the second field behind it.
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1
