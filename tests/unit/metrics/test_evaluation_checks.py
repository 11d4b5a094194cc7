from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.metrics import Pair, Rows, curve_from_rows
from spark_uplift.metrics.evaluation_checks import EVALUATION_CHECKS, check_evaluation
from tests.unit.metrics.data import experiment


def findings(s=None, weight=None, least=None, n=4000, share=0.5):
    y, t, score = experiment(n=n, share=share)
    pair = Pair.of(curve_from_rows(Rows.of(y=y, arm=t, weight=weight), score if s is None else s))
    return {finding.check: finding for finding in check_evaluation(pair, least)}


def test_the_registry_holds_the_expected_names():
    assert list(EVALUATION_CHECKS) == ["overlap", "effective_sample_size", "ties", "score_mass"]


def test_a_sound_evaluation_passes():
    found = findings()
    assert {finding.status for finding in found.values()} == {"pass"}
    assert all(finding.hint is None and finding.message for finding in found.values())
    assert found["overlap"].value == pytest.approx(0.5, abs=0.02)
    assert found["effective_sample_size"].value == pytest.approx(2000, abs=60)
    assert found["ties"].value == pytest.approx(1 / 4000)


@pytest.mark.parametrize(
    "least, status, threshold", [(0.2, "pass", 0.05), (0.03, "warn", 0.05), (1e-3, "fail", 0.01)]
)
def test_overlap_is_the_smallest_propensity(least, status, threshold):
    found = findings(least=least)["overlap"]
    assert (found.value, found.status, found.threshold) == (least, status, threshold)
    assert (found.hint is None) == (status == "pass")


def test_a_rare_arm_is_little_overlap():
    assert findings(share=0.02)["overlap"].status == "warn"


def test_uneven_weights_are_worth_few_rows():
    weight = np.where(np.arange(4000) % 100 == 0, 1000.0, 1.0)
    found = findings(weight=weight)["effective_sample_size"]
    assert found.status == "fail"
    assert found.value < 40


def test_ties_are_the_largest_group_of_equal_scores():
    s = np.where(np.arange(4000) < 1000, 0.5, np.arange(4000.0))
    found = findings(s=s)["ties"]
    assert (found.status, found.value) == ("warn", pytest.approx(0.25))
    assert "3,001 distinct scores; the largest tie holds 25 %" in found.message
    assert findings(s=np.ones(4000))["ties"].status == "fail"


def test_score_mass_is_that_of_the_best_tenth():
    s = np.where(np.arange(4000) < 400, 10.0, 1.0) + 1e-9 * np.arange(4000)
    found = findings(s=s)["score_mass"]
    assert (found.status, found.value) == ("warn", pytest.approx(10 / 19, abs=1e-3))
    assert findings(s=np.where(np.arange(4000) < 300, 9.0, -1.0))["score_mass"].status == "fail"
    nobody = findings(s=-np.arange(1.0, 4001.0))["score_mass"]
    assert (nobody.status, nobody.message) == ("warn", "No predicted effect is positive.")
    assert np.isnan(nobody.value)
