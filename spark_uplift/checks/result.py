"""The finding of a check: one row of the table ``check_results``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"
STATUSES = (PASS, WARN, FAIL, SKIP)


@dataclass(frozen=True)
class CheckResult:
    """What one check found, about the experiment or about one column.

    Parameters
    ----------
    check : str
        Name in the registry.
    status : str
        One of `STATUSES`.
    message : str
        The finding in one sentence, with its number.
    column_name : str or None
        Column that it is about; None for the experiment as a whole.
    value, threshold : float or None
        What was measured, and where the check turns, both in `unit`.
    unit : str or None
        E.g. ``"p-value"``, ``"share"``, ``"AUC"``, ``"rows"``.
    hint : str or None
        What to do about it; None when it passed.
    """

    check: str
    status: str
    message: str
    column_name: str | None = None
    value: float | None = None
    threshold: float | None = None
    unit: str | None = None
    hint: str | None = None

    def as_row(self, run_id: str) -> dict[str, object]:
        """Return the row of ``check_results``."""
        return {"run_id": run_id, **asdict(self)}

    def softened(self) -> CheckResult:
        """Return the finding with a failure turned into a warning."""
        return replace(self, status=WARN) if self.status == FAIL else self
