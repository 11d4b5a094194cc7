"""Running a contender in a process of its own, and watching the memory of everything it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.contender import PHASE
from benchmarks.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
_TICK = (
    0.2  # seconds between samples: a look at every process costs a few ms of the cores that are being timed
)


def _status(pid: int) -> dict[str, int]:
    """Return PPid, and VmRSS and VmHWM [kB], of a process; empty when it has gone."""
    wanted = {"PPid", "VmRSS", "VmHWM"}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key: int(value.split()[0]) for key, value in pairs if key in wanted}


def _is_spark_worker(pid: int) -> bool:
    try:
        return b"pyspark" in (command := Path(f"/proc/{pid}/cmdline").read_bytes()) and b"daemon" in command
    except OSError:
        return False


def _processes() -> dict[int, dict[str, int]]:
    return {
        int(entry.name): _status(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()
    }


def _below(root: int, found: dict[int, dict[str, int]]) -> list[int]:
    """Return what a process has started, and what that has started, and so on."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, status in found.items():
        children[status.get("PPid", 0)].append(pid)
    below, todo = [], [root]
    while todo:
        started = children[todo.pop()]
        below.extend(started)
        todo.extend(started)
    return below


def _descendants(pid: int) -> list[int]:
    return _below(pid, _processes()) if Path("/proc/self/status").exists() else []


def tree_memory(root: int) -> tuple[float, float]:
    """Return (resident memory of a process and all it started, the largest Spark Python worker's peak) [MB].

    The first counts pages that processes share once for each of them. The second is the kernel's own
    high-water mark, so it misses nothing between two samples. Both are 0 where there is no ``/proc``.
    """
    if not Path("/proc/self/status").exists():
        return 0.0, 0.0
    found = _processes()
    total, worker = 0, 0
    for pid in [root, *_below(root, found)]:
        status = found.get(pid, {})
        total += status.get("VmRSS", 0)
        if _is_spark_worker(pid):
            worker = max(worker, status.get("VmHWM", 0))
    return total * 1024 / 1e6, worker * 1024 / 1e6


class _Watch:
    """Phases and peaks of one contender."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        self.phase = "start"
        self.peaks: dict[str, float] = defaultdict(float)
        self.workers: dict[str, float] = defaultdict(float)
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._listen, self._sample)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.log.open("a") as log:
            for line in self.process.stdout:
                if line.startswith(PHASE):
                    self._look()  # the end of a phase is often its peak
                    self.phase = line[len(PHASE) :].strip()
                log.write(line)

    def _look(self) -> None:
        total, worker = tree_memory(self.process.pid)
        self.peaks[self.phase] = max(self.peaks[self.phase], total)
        self.workers[self.phase] = max(self.workers[self.phase], worker)

    def _sample(self) -> None:
        while self.process.poll() is None:
            self._look()
            time.sleep(_TICK)


def run(
    contender: str,
    settings: Settings,
    *,
    python: str,
    timeout: float,
    tag: str = "",
    environment: dict[str, str] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Run one contender.

    Returns
    -------
    dict
        Its result with ``contender``, ``peak_mb`` and ``worker_mb`` (phase -> MB); or an ``error``.
    """
    work = Path(settings.work)
    (work / "logs").mkdir(parents=True, exist_ok=True)
    name = f"{contender}{tag}-{settings.rows}-{settings.trees}"
    job, result, log = work / f"{name}.job.json", work / f"{name}.result.json", work / "logs" / f"{name}.log"
    result.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    job.write_text(
        json.dumps({**settings.to_json(), "contender": contender, "result": str(result.resolve()), **extra})
    )
    threads = str(settings.threads)
    limits = {
        key: threads
        for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    }
    with log.open("a") as errors:
        process = subprocess.Popen(
            [python, "-m", "benchmarks.contender", str(job.resolve())],
            cwd=ROOT, env={**clean_environment(), **limits, **(environment or {})}, text=True,
            stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
        )  # fmt: skip
        watch = _Watch(process, log)
        try:
            code: int | str = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = f"stopped after {timeout:.0f} s"
        finally:
            _end(process)
    if code != 0 or not result.exists():
        text = log.read_text(errors="replace").splitlines()
        tail = [line for line in text if line.strip() and not line.startswith(PHASE)][-1:]
        return {"contender": contender, "error": f"exit {code}: {' '.join(tail)[:300]} (see {log})"}
    found = json.loads(result.read_text())
    return {"contender": contender, **found, "peak_mb": dict(watch.peaks), "worker_mb": dict(watch.workers)}


def clean_environment() -> dict[str, str]:
    """Return the environment of contenders.

    Modules are compiled once, as on any machine; a setting against it would slow down every start.
    """
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def warm_kernels(python: str) -> None:
    """Compile our kernels into the cache on disk, so that no contender's time or memory is the compiler's."""
    command = [python, "-m", "spark_uplift.core.warmup"]
    subprocess.run(command, cwd=ROOT, env=clean_environment(), check=True, stdout=subprocess.DEVNULL)


def _end(process: subprocess.Popen[str]) -> None:
    """End whatever the contender has left behind: its own session, and clusters, which have sessions of their own."""
    for pid in _descendants(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
