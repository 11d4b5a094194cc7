"""One module a convention; importing this package registers all metrics."""

from __future__ import annotations

from spark_uplift.metrics.styles import causalml, grf, h2o, perpetual, sklift, ydf

__all__ = ["causalml", "grf", "h2o", "perpetual", "sklift", "ydf"]
