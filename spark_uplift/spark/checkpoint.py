"""Training that can be resumed: packed blocks and the trees so far, kept under a path.

``<path>/<fingerprint>/state`` holds a row a pass (``tree_parallel``: a wave of trees) with the forest so far,
``…/blocks`` the packed rows of ``data_parallel``. The fingerprint covers the data's profile and every setting that
shapes the forest, so a job finds its own state again and never somebody else's. Both are plain Parquet, written by
Spark: a killed write leaves nothing that a reader sees. Whatever is read back is checked: states by SHA-256, blocks by
the CRC-32 of each.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from spark_uplift.core import decisions
from spark_uplift.spark.dataset import BLOCK_SCHEMA, Dataset

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_LOG = logging.getLogger(__name__)

_STATE = "step int, sha256 string, state binary"
_ROW_GROUP_BYTES = 32 * 2**20  # readers hold a row group: a few blocks
_VERSION = 1


def fingerprint(dataset: Dataset, settings: Any, strategy: str) -> str:
    """Return 16 hex digits that name the forest to be grown: the data's profile and the settings.

    Parameters
    ----------
    settings : dataclass
        `TrainSettings`.
    strategy : str
        The one that was chosen: each has states of its own kind.
    """
    shaping = {k: v for k, v in asdict(settings).items() if k != "checkpoint_path"}
    told = {
        "version": _VERSION,
        "settings": {**shaping, "strategy": strategy},
        "features": [asdict(bins) for bins in dataset.features],
        "arms": [dataset.control, *dataset.treatments],
        "arm_rows": sorted(dataset.arm_rows.items()),
        "grid": list(dataset.grid),
        "mean_weight": dataset.mean_weight,
        "content": dataset.content,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """Where one forest's training is kept.

    Attributes
    ----------
    spark : SparkSession
    root : str
        Folder or URI of this forest.
    """

    spark: SparkSession
    root: str

    @classmethod
    def of(cls, dataset: Dataset, settings: Any, strategy: str) -> Checkpoint | None:
        """Return the checkpoint of a forest, None when no path is set."""
        path = settings.checkpoint_path
        if path is None:
            return None
        name = fingerprint(dataset, settings, strategy)
        return cls(dataset.frame.sparkSession, f"{str(path).rstrip('/')}/{name}")

    def blocks(self) -> DataFrame | None:
        """Return the packed blocks if they were written whole, else None."""
        # Spark's commit makes the files of a write visible together, and `save` of step 0 comes after it.
        if not self._steps():
            return None
        return self.spark.read.schema(BLOCK_SCHEMA).parquet(f"{self.root}/blocks")

    def write_blocks(self, blocks: DataFrame) -> DataFrame:
        """Write the packed blocks, and return them as they are read back."""
        location = f"{self.root}/blocks"
        writer = blocks.write.mode("overwrite").option("parquet.block.size", str(_ROW_GROUP_BYTES))
        writer.option("compression", "none").parquet(location)
        self.save(0, {})
        return self.spark.read.schema(BLOCK_SCHEMA).parquet(location)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Add the forest after a step; step 0 says that the blocks are written."""
        data = decisions.arrays_to_bytes(state)
        row = (step, hashlib.sha256(data).hexdigest(), bytearray(data))
        frame = self.spark.createDataFrame([row], _STATE).coalesce(1)
        frame.write.mode("append").parquet(f"{self.root}/state")

    def newest(self) -> tuple[int, dict[str, Any]]:
        """Return the last whole step and its state; 0 and nothing when there is none."""
        for row in sorted(self._steps(), key=lambda row: -row["step"]):
            if row["step"] == 0:
                break
            found = self._states().where(f"step = {int(row['step'])}").limit(1).collect()
            data = bytes(found[0]["state"]) if found else b""
            if hashlib.sha256(data).hexdigest() == row["sha256"]:
                return int(row["step"]), decisions.arrays_from_bytes(data)
            _LOG.warning("the state of step %d at %s is damaged and is left out", row["step"], self.root)
        return 0, {}

    def release(self) -> None:
        """Give the blocks' space back once the forest is grown; its state stays, a few MB."""
        empty = self.spark.createDataFrame([], BLOCK_SCHEMA)
        empty.write.mode("overwrite").parquet(f"{self.root}/blocks")

    def _states(self) -> DataFrame:
        return self.spark.read.schema(_STATE).parquet(f"{self.root}/state")

    def _steps(self) -> list[Any]:
        try:
            return self._states().select("step", "sha256").collect()
        except Exception as error:  # classic Spark and Connect raise different classes
            if "PATH_NOT_FOUND" in str(error):
                return []
            raise
