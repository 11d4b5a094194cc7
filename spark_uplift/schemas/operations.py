"""Tables of what ran when, on what, with which outcome."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "job_runs",
        "The audit trail: one row a job of a run",
        """
run_id
job | STRING | Use case: check, prepare, train, evaluate, score, decide or report
status | STRING | succeeded or failed
started_at | TIMESTAMP | Start [UTC]
finished_at | TIMESTAMP | End [UTC]
user | STRING | Account that ran the job
config | STRING | The whole configuration as canonical JSON
code_version | STRING | Version of the package
inputs | MAP<STRING, STRING> | Version of each table or source that was read
outputs | MAP<STRING, STRING> | Version of each table, path of each file that was written
digest | STRING | sha256 of the model's canonical arrays; null for jobs without a model
rows_in | BIGINT | Rows read [rows]
rows_out | BIGINT | Rows written [rows]
rows_quarantined | BIGINT | Rows set aside as unusable [rows]
message | STRING | Outcome in one sentence, or the error
""",
        keys="run_id job",
        replace=2,
    ),
)
