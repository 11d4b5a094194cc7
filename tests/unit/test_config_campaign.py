"""The configuration of a campaign: every fault at once, and an id that only the draw decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spark_uplift.config_campaign import load_campaign, parse_campaign
from spark_uplift.errors import ConfigError


def values(**changes: Any) -> dict[str, Any]:
    return {
        "name": "autumn",
        "warehouse": "wh",
        "recipients": {"path": "r.parquet", "id": "customer"},
        "variations": ["sms", "mail"],
        "test": {"share": 0.1},
        **changes,
    }


def test_defaults() -> None:
    config = parse_campaign(values())
    assert config.arms == ("no send", "sms", "mail")
    assert config.shares == pytest.approx({"no send": 1 / 3, "sms": 1 / 3, "mail": 1 / 3})
    assert parse_campaign(values(test_no_send=False)).arms == ("sms", "mail")


def test_the_id_hangs_on_the_draw_alone() -> None:
    config = parse_campaign(values())
    later = values(outcomes={"path": "o.parquet", "column": "y"}, learn={"folds": 3}, warehouse="elsewhere")
    assert parse_campaign(later).campaign_id == config.campaign_id
    for change in (
        {"seed": 2},
        {"variations": ["mail", "sms"]},
        {"test": {"share": 0.2}},
        {"name": "winter"},
    ):
        assert parse_campaign(values(**change)).campaign_id != config.campaign_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipients": {"id": "customer"}}, "'recipients' must have either path or table"),
        ({"recipients": {"path": "r", "table": "t", "id": "c"}}, "Got path and table instead"),
        ({"outcomes": {"column": "y"}}, "'outcomes' must have either path or table"),
        ({"variations": ["sms", "sms"]}, "two or more different arms"),
        ({"variations": ["sms"], "test_no_send": False}, "two or more different arms"),
        ({"variations": ["no send"]}, "two or more different arms"),
        ({"test": {}}, "must have a share, or a minimum_effect"),
        ({"test": {"minimum_effect": 0.01}}, r"test.baseline.*give test.spread"),
        ({"test": {"share": 0.1, "shares": {"sms": 0.5, "mail": 0.5}}}, "shares of the arms"),
        ({"send": {"no_send": 0.6, "single": 0.4}}, "add to less than 1"),
        ({"economics": {"costs": {"smss": 1.0}}}, r"must name arms among .*Got \['smss'\]"),
        ({"economics": {"costs": {"sms": -1.0}}}, "economics.costs.*number in the range"),
        ({"variation": ["sms"]}, "did you mean 'variations'"),
        ({"outcomes": {"path": "o", "colum": "y"}}, "'outcomes.colum' .*did you mean 'column'"),
    ],
)
def test_faults(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_campaign(values(**change))


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError, match="share") as caught:
        parse_campaign(values(variations=["sms", "sms"], test={}, send={"no_send": 0.5, "single": 0.5}))
    assert len(caught.value.faults) == 3


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "name: autumn\nwarehouse: wh\nrecipients: {path: r, id: c}\nvariations: [1, 2]\ntest: {share: 0.1}\n",
        encoding="utf-8",
    )
    config = load_campaign(path, ["test.share=0.2"], {})
    assert config.variations == ("1", "2")
    assert config.test.share == 0.2
