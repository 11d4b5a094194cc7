"""One module a convention; importing this package registers all metrics."""

from __future__ import annotations

from spark_uplift.metrics.styles import calibration, causalml, grf, h2o, perpetual, sklift, upliftml, ydf

__all__ = ["calibration", "causalml", "grf", "h2o", "perpetual", "sklift", "upliftml", "ydf"]
