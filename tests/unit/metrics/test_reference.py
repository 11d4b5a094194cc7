"""Numbers that other packages printed for the same rows."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from spark_uplift.metrics import score

TINY = {
    ("sklift", "auuc"): 0.012761738450734911,
    ("sklift", "qini"): 0.024151156908300317,
    ("sklift", "uplift_at_30"): 0.19021134593993327,
    ("sklift", "uplift_at_30_by_group"): 0.1717171717171717,
    ("sklift", "weighted_average_uplift"): 0.16926095431816257,
    ("causalml", "auuc_raw"): 35.55416694926825,
    ("causalml", "auuc"): 0.5191537651884304,
    ("causalml", "qini_raw"): 1.0370628903928947,
    ("causalml", "qini"): 0.03365100824283727,
    ("causalml", "rate_autoc"): 0.1684843319013396,
    ("causalml", "rate_qini"): 0.006558784560479862,
    ("h2o", "auuc_qini"): 16.446153799483813,
    ("h2o", "auuc_qini_normalized"): 0.5336510082428373,
    ("h2o", "aecu_qini"): 1.0370628903929084,
    ("h2o", "qini"): 1.0370628903929084,
    ("h2o", "auuc_gain"): 35.55832322524497,
    ("h2o", "auuc_gain_normalized"): 0.5192144541739313,
    ("h2o", "aecu_gain"): 1.315898982820734,
    ("h2o", "auuc_lift"): 0.23206534662593972,
    ("h2o", "aecu_lift"): 0.14645928601987912,
    ("perpetual", "auuc"): 0.0033010968256944745,
    ("perpetual", "qini"): 1.044655547618877,
    ("ydf", "auuc"): 0.09691729797979798,
    ("ydf", "qini"): 0.01131123737373739,
    ("grf", "autoc"): 0.10327688724419902,
    ("grf", "qini"): 0.011311237373737359,
}


@pytest.fixture(scope="module")
def tiny(shared_data):
    with shared_data("metrics_tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in "mty"}


@pytest.mark.parametrize("style, name", TINY)
def test_four_hundred_rows_give_the_packages_numbers(tiny, style, name):
    ours = score(name, style=style, y=tiny["y"], arm=tiny["t"], score=tiny["m"])
    assert ours == pytest.approx(TINY[style, name], rel=1e-9, abs=1e-12)


def test_logged_propensities_equal_to_the_shares_change_nothing(tiny):
    share = tiny["t"].mean()
    own = np.where(tiny["t"] == 1, share, 1 - share)
    for name in ("autoc", "qini"):
        plain = score(name, y=tiny["y"], arm=tiny["t"], score=tiny["m"])
        logged = score(name, y=tiny["y"], arm=tiny["t"], score=tiny["m"], propensity=own)
        assert logged == pytest.approx(plain, rel=1e-12)


@pytest.fixture(scope="module")
def hillstrom(shared_data):
    import pyarrow.parquet as pq

    return pq.read_table(shared_data("hillstrom/hillstrom.parquet")).to_pandas()


@pytest.fixture(scope="module")
def sklift_numbers(shared_data):
    return json.loads(shared_data("reference_metrics_sklift.json").read_text())


def _scores(frame, kind):
    row = np.arange(len(frame))
    base = {
        "history_tiebroken": frame["history"],
        "minus_recency_tiebroken": -frame["recency"],
        "womens_plus_tie": frame["womens"],
    }[kind]
    return base.to_numpy(float) + 1e-9 * row


@pytest.mark.parametrize("arm", ["Mens E-Mail", "Womens E-Mail"])
@pytest.mark.parametrize("outcome", ["visit", "conversion"])
@pytest.mark.parametrize("kind", ["history_tiebroken", "minus_recency_tiebroken", "womens_plus_tie"])
def test_hillstrom_gives_sklifts_numbers(hillstrom, sklift_numbers, arm, outcome, kind):
    frame = hillstrom[hillstrom["segment"].isin([arm, "No E-Mail"])]
    expected = sklift_numbers[f"{arm}|{outcome}|{kind}"]
    given = {
        "y": frame[outcome],
        "arm": (frame["segment"] == arm).astype(int),
        "score": _scores(hillstrom, kind)[frame.index],
        "style": "sklift",
    }
    ours = {
        "qini": score("qini", **given),
        "auuc": score("auuc", **given),
        "up10": score("uplift_at_10", **given),
        "up30_bygroup": score("uplift_at_30_by_group", **given),
    }
    assert ours == pytest.approx(expected, rel=1e-9)
