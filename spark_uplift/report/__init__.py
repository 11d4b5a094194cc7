"""One self-contained HTML page from rows: `render(ReportInputs(...))`."""

from __future__ import annotations

from spark_uplift.report.build import ReportInputs, render

__all__ = ["ReportInputs", "render"]
