"""Charts as plain dicts in plotly's JSON schema, one small function each, in a registry.

The functions know nothing of HTML. Colours are those of the light theme; the page swaps them for the dark
ones by value.
"""

from __future__ import annotations

# Each module registers its charts when it is imported.
from spark_uplift.report.charts import buckets, comparison, curves, effects, model, money
from spark_uplift.report.figure import CHARTS

__all__ = ["CHARTS", "buckets", "comparison", "curves", "effects", "model", "money"]
