"""The audit trail: one row of ``job_runs`` for every job of a run, whatever its end."""

from __future__ import annotations

import getpass
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from spark_uplift import __version__
from spark_uplift.config_loading import Whole
from spark_uplift.errors import TableError
from spark_uplift.pipeline.context import RunContext

_LOG = logging.getLogger(__name__)

_LINES_KEPT = 4  # of an error that lists several faults
_SECRET = r"secret|passw|pwd|token|credential|signature|(?:access|account|api|private|encryption)[._-]?key"
_SECRET_KEY = re.compile(rf"(?i){_SECRET}|\bsas\b")
_SECRET_SETTING = re.compile(rf"(?i)\b([\w.-]*(?:{_SECRET}|\bsig)[\w.-]*=)[^&;,\s'\"]+")
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass
class JobRecord:
    """What a job adds to its row while it works."""

    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    digest: str | None = None
    rows_in: int | None = None
    rows_out: int | None = None
    rows_quarantined: int | None = None
    message: str = ""


def public_config(config: Whole) -> dict[str, Any]:
    """Return the configuration with secrets blotted out: it goes into tables, MLflow and the report."""

    def clean(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(k, v) for k, v in value.items()}
        if isinstance(value, list):
            return [clean(key, v) for v in value]
        if isinstance(value, str):
            return "***" if _SECRET_KEY.search(key) else public_text(value)
        return value

    values = json.loads(config.canonical_json())
    return {key: clean(key, value) for key, value in values.items()}


def public_text(text: str) -> str:
    """Return a text without the logins and the secret settings of the addresses in it.

    Examples
    --------
    >>> public_text("s3a://key:secret@bucket/rows?sig=1b2c&v=3")
    's3a://***@bucket/rows?sig=***&v=3'
    """
    return _SECRET_SETTING.sub(r"\1***", _LOGIN_IN_URL.sub("***@", text))


@contextmanager
def recorded(context: RunContext, job: str) -> Iterator[JobRecord]:
    """Run the body as a job: its row is written at its end, also when it fails."""
    record = JobRecord()
    started = datetime.now(timezone.utc)
    try:
        yield record
    except BaseException as error:
        record.message = _told(error)
        try:
            _write(context, job, "failed", started, record)
        except Exception as second:  # the first error is the one to show
            _LOG.warning("The row of job '%s' in job_runs can't be written: %s", job, _told(second))
        raise
    _write(context, job, "succeeded", started, record)


def _write(context: RunContext, job: str, status: str, started: datetime, record: JobRecord) -> None:
    row = {
        "run_id": context.run_id,
        "job": job,
        "status": status,
        "started_at": started,
        "finished_at": datetime.now(timezone.utc),
        "user": _user(),
        "config": json.dumps(public_config(context.settings), sort_keys=True, ensure_ascii=False),
        "code_version": __version__,
        "inputs": {name: public_text(value) for name, value in record.inputs.items()},
        "outputs": {name: public_text(value) for name, value in record.outputs.items()},
        "digest": record.digest,
        "rows_in": record.rows_in,
        "rows_out": record.rows_out,
        "rows_quarantined": record.rows_quarantined,
        "message": public_text(record.message),
    }
    context.write(context.frame("job_runs", [row]), "job_runs", run_id=context.run_id, job=job)


def _told(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {' '.join(line.strip() for line in lines[:_LINES_KEPT])}".strip()[:1000]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def last_record(context: RunContext, job: str) -> dict[str, Any]:
    """Return the row of this run's job.

    Raises
    ------
    TableError
        When the job has not succeeded yet.
    """
    return record_of(context.small_rows("job_runs"), job, context.run_id)


def record_of(records: Iterable[dict[str, Any]], job: str, run_id: str) -> dict[str, Any]:
    """Return the row of a job among those of its run; see `last_record`."""
    found = succeeded(records, job)
    if found is None:
        raise TableError(
            f"The job '{job}' of run '{run_id}' must have succeeded. Got no record of that. "
            f"Hint: run `spark-uplift {job}` with the same configuration first."
        )
    return found


def succeeded(records: Iterable[dict[str, Any]], job: str) -> dict[str, Any] | None:
    """Return the row of a job among those of its run, or None when it has not succeeded."""
    return next((row for row in records if row["job"] == job and row["status"] == "succeeded"), None)
