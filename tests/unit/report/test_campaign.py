"""The page of a campaign: each step's part, plain words, and nothing of the data that a browser would run."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from spark_uplift.report.campaign import CampaignInputs, render_campaign

DONE = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
GAIN = {"gain": "0.02", "gain_lower": "0.01", "gain_upper": "0.03"}


def step(name: str, **facts: str) -> dict[str, Any]:
    return {"step": name, "facts": facts, "message": f"{name} is done", "done_at": DONE}


def start() -> dict[str, Any]:
    return step(
        "start", recipients_count="10000", tested="3000", smallest_effect="0.02",
        **{"arm:none": "1000", "arm:mail": "1000", "arm:sms": "1000"},
    )  # fmt: skip


def value(policy: str, mean: float, gain: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "policy": policy, "settings": None, "value": mean, "std_error": 0.01, "lower": mean - 0.02,
        "upper": mean + 0.02, "against": None if gain is None else "single", "difference": gain,
        "difference_lower": None if gain is None else gain - 0.01,
        "difference_upper": None if gain is None else gain + 0.01, "chosen": False, **more,
    }  # fmt: skip


def segment(number: int, rule: str, arm: str, uplift: float) -> dict[str, Any]:
    return {
        "segment": number, "rule": rule, "share": 0.25, "arm": arm, "n": 100, "n_treated": 50, "n_control": 50,
        "mean_treated": 0.2, "mean_control": 0.2 - uplift, "uplift": uplift, "lower": uplift - 0.01,
        "upper": uplift + 0.01, "recommended": arm,
    }  # fmt: skip


def result(treated_as: str, against: str, gain: float) -> dict[str, Any]:
    ends = {"gain": gain, "lower": gain - 0.004, "upper": gain + 0.004}
    money = {
        f"{k}{end}": 10 * (gain + d)
        for k in ("net", "total")
        for end, d in (("", 0.0), ("_lower", -0.004), ("_upper", 0.004))
    }
    return {
        "comparison": f"{treated_as} against {against}", "treated_as": treated_as, "against": against, "n": 5000,
        "n_against": 700, "share_compared": 0.3, "level": 0.95, **ends, **money,
    }  # fmt: skip


def page(**changes: Any) -> str:
    given: dict[str, Any] = {
        "name": "autumn",
        "arms": ("none", "mail", "sms"),
        "outcome": {"name": "ordered", "kind": "binary", "unit": "orders"},
        **changes,
    }
    return render_campaign(CampaignInputs(**given))


def test_before_and_after_the_start() -> None:
    assert "The test has not been started." in page()
    begun = page(steps=[start()])
    assert "The test is under way." in begun
    assert "10,000" in begun
    assert 'id="gains"' not in begun
    assert 'id="policies"' not in begun
    assert 'id="segments"' not in begun


def test_a_decision_in_plain_words() -> None:
    learnt = step("learn", decision="personalised", single="mail", **GAIN)
    text = page(
        steps=[start(), learnt],
        values=[
            value("all: mail", 0.2),
            value("personalised", 0.22, 0.02, chosen=True),
            value("single", 0.2),
        ],
        segments=[segment(1, "recency <= 60 and device is mobile", "sms", 0.021)],
        currency="EUR",
        worth=True,
    )
    assert "Give each recipient an arm of their own: +20 EUR" in text
    assert "giving everybody “mail”" in text
    assert "Recipients with recency &lt;= 60 and device is mobile: sms +2.1 points" in text
    assert text.index("an arm for each recipient") < text.index("all: mail")


def test_a_refusal() -> None:
    learnt = step(
        "learn", decision="single", single="mail", gain="0.001", gain_lower="-0.01", gain_upper="0.012"
    )
    text = page(steps=[start(), learnt])
    assert "Give everybody “mail”" in text
    assert "is not proven" in text
    assert "orders" in text  # without prices, values are outcomes


def test_gains_begin_with_the_one_that_counts() -> None:
    learnt = step("learn", decision="personalised", single="mail", **GAIN)
    sent = step("send", sent="7000", **{"personalised/sms": "3000", "no_send/none": "350"})
    text = page(
        steps=[start(), learnt, sent],
        results=[result("single", "no_send", 0.03), result("personalised", "single", 0.01)],
    )
    ours, other = (
        "an arm for each recipient against the best single arm for all",
        "the best single arm for all against no send",
    )
    assert text.index(ours) < text.index(other)
    assert "42.9" in text  # 3,000 of 7,000


@pytest.mark.parametrize("bad", ["<script>alert(1)</script>", "</style><img src=x onerror=alert(1)>"])
def test_markup_in_data_is_text(bad: str) -> None:
    learnt = step("learn", decision="personalised", single=bad, **GAIN)
    text = page(
        name=bad, steps=[start(), learnt], segments=[segment(1, bad, bad, 0.02)], values=[value(bad, 0.1)]
    )
    assert bad not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
