"""What needs no Spark in the value of a run's policies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from spark_uplift.pipeline import policy


def test_no_cost_curve_where_treating_is_cheaper_than_not_treating(caplog: pytest.LogCaptureFixture) -> None:
    context = cast("Any", SimpleNamespace(source=SimpleNamespace(control="letter")))
    model = cast("Any", SimpleNamespace(treatmentNames=["call", "mail"]))
    assert policy._curve(context, model, cast("Any", None), {"letter": 1.0, "mail": 0.1, "call": 3.0}) == []
    assert "control costs 1, more than the arms ['mail']" in caplog.text
