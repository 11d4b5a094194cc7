"""What Spark's event log says of a run: stages with what they shuffled and spilled, and blocks that were stored."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def conf(folder: Path) -> dict[str, str]:
    """Return the settings of an application whose events are to be read from a folder, which must be there."""
    return {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folder.resolve().as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
        "spark.eventLog.logBlockUpdates.enabled": "true",  # the only place that tells which blocks went to disk
    }


@dataclass
class Stage:
    """One stage, all its attempts together.

    Attributes
    ----------
    submitted : float
        Seconds since the epoch.
    tasks : int
        Tasks that ended well.
    written, data : int
        Shuffle bytes written, as they lie on disk (compressed), and rows' bytes before compression.
    spilled : int
        Bytes that sorts and aggregations spilled to disk.
    """

    submitted: float = 0.0
    tasks: int = 0
    written: int = 0
    data: int = 0
    spilled: int = 0


@dataclass(frozen=True)
class Stored:
    """Cached blocks, in bytes.

    Attributes
    ----------
    memory, disk : int
        The most that they took at a time.
    room : int
        Memory that executors can hold blocks in, as long as tasks need none of it.
    """

    memory: int
    disk: int
    room: int


class _Blocks:
    """Sizes of cached blocks, place by place."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str], tuple[int, int]] = {}
        self.total = [0, 0]  # memory, disk
        self.most = [0, 0]

    def update(self, info: dict[str, Any]) -> None:
        """Take what a block's place tells of it."""
        if info["Block ID"].startswith("rdd_"):
            place = (info["Block ID"], json.dumps(info["Block Manager ID"], sort_keys=True))
            self._set(place, (info["Memory Size"], info["Disk Size"]))

    def forget(self, rdd: int) -> None:
        """Drop what was unpersisted, of whose blocks Spark tells nothing more."""
        for place in [place for place in self.places if place[0].startswith(f"rdd_{rdd}_")]:
            self._set(place, (0, 0))

    def _set(self, place: tuple[str, str], sizes: tuple[int, int]) -> None:
        before = self.places.get(place, (0, 0))
        self.places[place] = sizes
        for i in range(2):
            self.total[i] += sizes[i] - before[i]
            self.most[i] = max(self.most[i], self.total[i])


def read(folder: Path) -> tuple[list[Stage], Stored]:
    """Read the log of the applications in a folder (finished or not)."""
    stages: dict[tuple[str, int], Stage] = defaultdict(Stage)
    blocks = _Blocks()
    rooms: dict[str, int] = {}
    for event, file in _events(folder):
        kind = event["Event"]
        if kind == "SparkListenerStageCompleted":
            info = event["Stage Info"]
            stage = stages[file, info["Stage ID"]]
            stage.submitted = info.get("Submission Time", 0) / 1000
            stage.data = sum(int(x["Value"]) for x in info["Accumulables"] if x.get("Name") == "data size")
        elif kind == "SparkListenerTaskEnd" and event["Task End Reason"]["Reason"] == "Success":
            stage, metrics = stages[file, event["Stage ID"]], event.get("Task Metrics") or {}
            stage.tasks += 1
            stage.written += metrics.get("Shuffle Write Metrics", {}).get("Shuffle Bytes Written", 0)
            stage.spilled += metrics.get("Disk Bytes Spilled", 0)
        elif kind == "SparkListenerBlockManagerAdded":
            rooms[event["Block Manager ID"]["Executor ID"]] = event["Maximum Memory"]
        elif kind == "SparkListenerBlockUpdated":
            blocks.update(event["Block Updated Info"])
        elif kind == "SparkListenerUnpersistRDD":
            blocks.forget(event["RDD ID"])
    if len(rooms) > 1:
        rooms.pop("driver", None)  # it runs no task where there are executors
    ended = [stage for stage in stages.values() if stage.submitted]
    return ended, Stored(blocks.most[0], blocks.most[1], sum(rooms.values()))


def _events(folder: Path) -> Iterable[tuple[dict[str, Any], str]]:
    for path in sorted(folder.iterdir()):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.endswith("\n"):  # the last line of a running application may be half written
                    yield json.loads(line), path.name


def within(stages: Iterable[Stage], start: float, end: float) -> list[Stage]:
    """Return the stages that were submitted in a span of time, the earliest first."""
    return sorted((x for x in stages if start <= x.submitted < end), key=lambda stage: stage.submitted)
