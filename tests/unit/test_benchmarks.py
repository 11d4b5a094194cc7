from __future__ import annotations

import inspect
import json
import logging

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import coverage, data, decide, evaluation, eventlog, scale_tables, scoring, tables
from benchmarks.__main__ import QUICK, main, merge, parse
from benchmarks.contender import CONTENDERS, quality
from benchmarks.sections import RUN
from benchmarks.settings import (
    FULL_PEERS,
    LARGE_SECTIONS,
    METRIC_PEERS,
    SECTIONS,
    SMALL_PEERS,
    Settings,
    memory_limit_mb,
)

MACHINE = {
    "processor": "toy", "cores": 2, "memory_gb": 8.0, "system": "Linux", "python": "3.11", "java": "17", "date": "today"
}  # fmt: skip


def _fit(contender: str, seconds: float, pearson: float, **more: object) -> dict[str, object]:
    return {
        "contender": contender, "version": f"{contender} 1", "settings": "none", "seconds": [seconds],
        "pearson": pearson, "spearman": pearson, "peak_mb": {"fit": 900.0}, "worker_mb": {"fit": 300.0}, **more,
    }  # fmt: skip


def _group(*peers: dict[str, object]) -> dict[str, object]:
    ours = _fit("ours", 2.0, 0.5, first_seconds=[4.0, 4.5], leaves=100.0)
    return {"rows": 1_000_000, "trees": 20, "depth": 8, "aims": True, "results": [ours, *peers]}


def _sized(rows: int, seconds: float, **more: object) -> dict[str, object]:
    passes = [
        {"kind": "counted", "nodes": 4, "trees": 4, "depth": 0, "seconds": 1.0, "shuffled": 10, "data": 99, "moved": 0}
    ]  # fmt: skip
    return {
        "rows": rows, "trees": 100, "depth": 6, "driver_memory": "5g", "seconds": seconds, "first_pass_seconds": 1.0,
        "pack_seconds": 1.0, "fixed_seconds": 4.0, "passes": passes, "stored_disk": 0, "stored_memory": 0, "spilled": 0,
        "storage_bytes": 200_000_000, "packed_bytes": 24 * rows, "source_bytes": 120 * rows, "digest": "abc",
        "peak_mb": {"fit": 8000.0}, "worker_mb": {"fit": 400.0}, **more,
    }  # fmt: skip


def test_a_larger_table_begins_with_the_files_of_a_smaller_one(tmp_path):
    small = data.make(800, tmp_path, chunk=400)
    large = data.make(1000, tmp_path, chunk=400)

    assert large[:2] == small
    assert [pq.read_metadata(path).num_rows for path in large] == [400, 400, 200]


def test_rows_are_read_as_peers_want_them(tmp_path):
    rows = data.read(data.make(3000, tmp_path, chunk=1000))

    assert rows["x"].shape == (3000, 12)
    assert rows["treated"].mean() == pytest.approx(0.85, abs=0.03)
    assert rows["y"].mean() == pytest.approx(0.05, abs=0.02)
    assert np.all(rows["tau"] >= 0.0)
    assert len(np.unique(rows["x"][:, 0])) == 3000, "files must not repeat each other"


def test_held_out_rows_are_other_rows(tmp_path):
    train = data.read(data.make(500, tmp_path))
    held_out = data.read(data.make_held_out(500, tmp_path))

    assert not np.intersect1d(train["x"][:, 0], held_out["x"][:, 0]).size


def test_what_a_killed_run_left_behind_is_not_taken_for_data(tmp_path):
    [path] = data.files(100, tmp_path)
    half = tmp_path / "seed-1" / f"{path}.unfinished"
    half.parent.mkdir()
    half.write_text("half")

    assert data.make(100, tmp_path) == [path]
    assert pq.read_metadata(path).num_rows == 100
    assert not half.exists()


def test_quality_is_correlation_with_the_truth():
    truth = np.arange(10.0)

    assert quality(truth**3, truth)["spearman"] == pytest.approx(1.0)
    assert quality(truth**3, truth)["pearson"] < 1.0
    assert quality(np.ones(10), truth)["pearson"] == 0.0
    with pytest.raises(ValueError, match="one a row"):
        quality(truth[:5], truth)


@pytest.mark.parametrize(
    "value, shown",
    [(None, ""), (0.0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)  # fmt: skip
def test_numbers_keep_three_digits(value, shown):
    assert tables.number(value) == shown


def test_markdown_is_aligned():
    assert tables.markdown(["", "n"], [["a", "1"], ["long", "1,000"]]).splitlines() == [
        "|      |     n |",
        "|:-----|------:|",
        "| a    |     1 |",
        "| long | 1,000 |",
    ]
    with pytest.raises(ValueError, match="2 cells"):
        tables.markdown(["", "n"], [["a"]])


def test_fit_table_gives_ratios_and_says_which_aims_were_reached():
    text = tables.fit_table(_group(_fit("ydf", 60.0, 0.4), _fit("h2o", 10.0, 0.6)))

    ydf, h2o = (next(line for line in text.splitlines() if name in line) for name in ("YDF", "H2O"))
    assert "30.0" in ydf
    assert "≥ 25: reached" in ydf
    assert "5.00" in h2o
    assert "≥ 12: missed" in h2o
    assert "Pearson 0.500 beside the best peer's 0.600 (H2O UpliftDRF): missed" in text
    assert "new Python workers, right after the session's start: 4.00, 4.50 s" in text


def test_a_second_row_of_ours_is_no_peer():
    text = tables.fit_table(_group(_fit("ours-honest", 1.0, 0.9), _fit("ydf", 60.0, 0.4)))

    assert "Pearson 0.500 beside the best peer's 0.400 (YDF, all features): reached" in text
    assert "**spark_uplift**, honest" in text


def test_a_peer_that_fails_costs_its_row_alone():
    text = tables.fit_table(_group({"contender": "h2o", "error": "exit 1: no Java"}, _fit("ydf", 60.0, 0.4)))

    assert "H2O UpliftDRF failed: exit 1: no Java" in text
    assert "YDF, all features" in text


def _scored(rows, seconds, peak):
    return {
        "rows": rows, "seconds": seconds, "cpu_seconds": 1.9 * seconds, "trees": 100, "depth": 6, "threads": 2,
        "bytes": 40 * rows, "peak_mb": {"score": peak}, "worker_mb": {"score": 500.0},
    }  # fmt: skip


def test_scoring_tells_when_memory_grows():
    text = scoring.table([_scored(1_000_000, 3.0, 3000.0), _scored(10_000_000, 30.0, 6000.0)])
    assert "≥ 0.5: missed" in text
    assert "2.00 times, flat (≤ 1.25): missed" in text
    assert "failed: exit 1" in scoring.table([{"contender": "ours-scoring", "error": "exit 1"}])


def _covered(share):
    whats = [("AUTOC", "poisson", "a"), *((f"uplift, decile {b}", "analytic", "a") for b in (1, 2))]
    rows = [
        {"world": world, "what": what, "interval": kind, "intervals": 100, "covered": share}
        for what, kind, world in [*whats, ("policy value, ips", "normal", "b")]
    ]
    rows[2]["covered"] = share - 0.02
    return {"rows": 10, "sets": 100, "replicates": 200, "coverage": rows}


def test_coverage_tells_what_misses_its_aim():
    text = coverage.table([_covered(0.95), _covered(0.90), {"error": "exit 1"}])
    assert "| uplift per decile: analytic | 94.0 (93.0 to 95.0) | reached |" in text
    assert "| policy value, ips: normal | 90.0 | missed |" in text
    assert "failed: exit 1" in text


def test_coverage_is_counted_from_the_packages_own_intervals():
    drawn = coverage.simulate(Settings(rows=600, threads=1), {"sets": 12, "reference": 20_000})
    kinds = {(row["what"], row["interval"]) for row in drawn["coverage"]}
    assert {("AUTOC", "poisson"), ("AUTOC", "half_sample"), ("policy value, dr", "bootstrap")} <= kinds
    pooled = [row["covered"] for row in drawn["coverage"] if row["what"].startswith("uplift, decile")]
    assert np.mean(pooled) > 0.85
    assert all(0.0 <= row["covered"] <= 1.0 for row in drawn["coverage"])


def _decided(rows: int, seconds: float, **more: object) -> dict[str, object]:
    return {
        "rows": rows, "threads": 2, "seconds": seconds, "cpu_seconds": seconds, "bytes": 30 * rows, "decided": rows,
        "parts": {"count": 1.0}, "writing": 2.0, "gap": 1e-6, "agrees": True, "limits": [{"used": 1.0, "limit": 1.0}],
        "peak_mb": {"decide": 3000.0}, "worker_mb": {"decide": 500.0}, **more,
    }  # fmt: skip


def test_deciding_tells_when_a_limit_is_exceeded_or_time_runs_out():
    assert "≤ 300: missed" in decide.table([_decided(100_000_000, 301.0)])
    late = decide.table([_decided(1_000_000, 5.0, limits=[{"used": 2.0, "limit": 1.0}])])
    assert "missed" in late
    assert "missed" not in decide.table([_decided(1_000_000, 5.0)])
    assert "failed: exit 1" in decide.table([{"contender": "ours-decide", "error": "exit 1"}])


def _evaluated(a_resample):
    metrics = {f"{arm}|sklift|qini": [0.1, 0.01] for arm in ("call", "mail")}
    ours = [
        {
            "contender": "ours-evaluation", "rows": rows, "seconds": [rows / 1e5], "cpu_seconds": rows / 6e4,
            "threads": 2, "metrics": metrics, "peak_mb": {"evaluate": 2000.0}, "worker_mb": {"evaluate": 300.0},
        }
        for rows in (10**6, 10**7)
    ]  # fmt: skip
    theirs = [
        {
            "contender": "sklift-metrics", "version": "scikit-uplift 1", "rows": rows, "resamples": 3,
            "seconds": {"qini": 0.5 * a_resample * rows / 1e7, "auuc": 0.4 * a_resample * rows / 1e7, "drawing": 0.0},
            "values": {"call|qini": 0.101, "mail|qini": 0.1}, "peak_mb": {"resample": 900.0},
        }
        for rows in (10**5, 10**6)
    ]  # fmt: skip
    return {
        "ours": ours,
        "peers": {"sklift": theirs, "causalml": [{"contender": "causalml-metrics", "error": "exit 9"}]},
    }


def test_evaluation_is_extrapolated_by_measured_growth():
    found = _evaluated(50.0)  # 45 s a resample at 10 million rows
    text = evaluation.table(found)
    assert "| scikit-uplift 1 " in text
    assert " 9,000 |" in text
    assert "≥ 20: reached" in text
    assert "1.00 times, flat (≤ 1.25): reached" in text
    assert "causalml-metrics failed: exit 9" in text
    assert "exponent 1.00" in text
    assert "differs from theirs" not in text  # not timed at the full size
    found["peers"]["sklift"].append({**found["peers"]["sklift"][-1], "rows": 10**7})
    assert "scikit-uplift 1 0.1000" in evaluation.table(found)
    assert "≥ 20: missed" in evaluation.table(_evaluated(5.0))


def test_scored_rows_are_made_once_and_read_by_arm(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "CHUNK", 400)
    small = evaluation.make(400, tmp_path, 1)
    paths = evaluation.make(1000, tmp_path, 1)
    assert paths[:1] == small
    y, treated, score = evaluation.read(paths, 2)
    assert 500 < len(y) == len(treated) == len(score) < 800
    assert treated.mean() == pytest.approx(0.5, abs=0.08)
    assert len(np.unique(score)) == len(score), "files must not repeat each other"


def test_report_shows_every_section(tmp_path):
    times = {f"{part}_seconds": 0.1 for part in ("encode", "grow", "predict", "import_numba", "import_ours")}
    transform = {"rows": 10, "seconds": [1e-5], "delta_seconds": [2e-5], "scan_seconds": 1e-6, "leaves": 9.0}
    found = {
        "fit": [_group(_fit("ydf", 60.0, 0.4))],
        "kernel": {
            "rows": 10, "trees": 2, "depth": 8, "leaves": 3.0, "grow_ns": [10.0, 13.0], "encode_us": [0.1],
            "predict_trees": 100, "predict_us": [1.9],
        },
        "transform": {
            "trees": 100, "depth": 8, "train_rows": 10, "threads": 2, "ours": transform,
            "ydf": {"rows": 10, "seconds": [8e-5], "leaves": 9.0},
        },
        "memory": [{"rows": 1_000_000, "peak_mb": {"fit": 2000.0}, "worker_mb": {"fit": 300.0}}],
        "cold": {"compiled": [times], "cached": [times]},
        "breakdown": {"rows": 10, "trees": 2, "parts": {"whole fit": 1.5}},
        "counting": {
            "rows": 10, "draw": 1.0, "step": 1.0, "update": [1.0, 2.0], "far": 1.0,
            "cases": [{"case": [0, 3, 2], "measured": 9.0, "fitted": 8.0}],
        },
        "scale": [_sized(10_000_000, 80.0), _sized(100_000_000, 700.0)],
        "strategies": {**_sized(10, 1.0), "seconds": {"a": [2.0], "b": [1.0]}, "ratio": 2.0, "digests": ["x"]},
        "executors": [_sized(10, 8.0, executors=1), _sized(10, 5.0, executors=2)],
        "spill": {
            "small": _sized(100_000_000, 9.0, executors=1, executor_memory="450m"), "ample": _sized(100_000_000, 5.0)
        },
        "scoring": [_scored(1_000_000, 1.5, 3000.0), _scored(100_000_000, 190.0, 3100.0)],
        "campaigns": {
            "campaigns": 9, "units": 10,
            "worlds": [{"world": "w", "to_gain": False, "personalised": 0.01, "coverage": 0.95, "truth": 0.0}],
        },
        "coverage": [_covered(0.95)],
        "decide": [_decided(1_000_000, 5.0), _decided(100_000_000, 200.0)],
        "evaluation": _evaluated(1000.0),
    }  # fmt: skip
    text = tables.report({name: {"machine": MACHINE, "results": results} for name, results in found.items()})

    assert list(found) == list(SECTIONS) == list(RUN)
    assert "missed" not in text
    assert text.count("2 cores of toy") == len(SECTIONS)
    assert "≤ 12: reached" in text
    assert "≥ 5: reached" in text
    assert "reached" in next(line for line in text.splitlines() if line.startswith("| 1,000,000"))

    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{tables.BEGIN}\nan earlier run\n{tables.END}\nafter\n")
    tables.write_between_markers(document, text)
    tables.write_between_markers(document, text)
    written = document.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert written.count("## Kernels") == 1
    assert "an earlier run" not in written


def test_a_document_without_markers_is_left_alone(tmp_path):
    document = tmp_path / "benchmarks.md"
    document.write_text("mine")
    with pytest.raises(ValueError, match="must hold the lines"):
        tables.write_between_markers(document, "text")
    assert document.read_text() == "mine"


def test_settings_survive_the_way_to_a_contender(tmp_path):
    settings = Settings(rows=10, trees=3)
    path = tmp_path / "job.json"
    merge(path, {**settings.to_json(), "contender": "ours"})

    assert Settings.read(path) == (settings, {"contender": "ours"})


def test_quick_has_small_sizes_and_leaves_the_document_alone():
    quick, full = parse(["--quick", "--only", "kernel"]), parse([])

    assert quick.rows == QUICK["rows"] < full.rows
    assert not quick.out.startswith("docs")
    assert not quick.doc.startswith("docs")
    assert not quick.scaling_doc.startswith("docs")
    assert quick.only == ["kernel"]
    assert parse(["--quick"]).only == list(SECTIONS), "a quick run is to see that everything runs"
    assert not set(full.only) & set(LARGE_SECTIONS)
    assert set(full.peers) == {*FULL_PEERS, *SMALL_PEERS, *METRIC_PEERS}
    assert {*FULL_PEERS, *SMALL_PEERS, *(f"{peer}-metrics" for peer in METRIC_PEERS)} <= set(CONTENDERS)


def test_an_unknown_section_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "speed"])
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def test_memory_limit_is_three_times_the_binned_bytes_and_300_mb():
    assert memory_limit_mb(1_000_000) == pytest.approx(336.0)


def test_exponents_are_told_with_and_without_the_fixed_cost():
    text = scale_tables.scale_section([_sized(1_000_000, 10.0), _sized(10_000_000, 120.0)])

    assert "grow with exponent 1.08 (aim ≤ 1.05: missed), without the fixed cost 1.29 (missed)" in text
    assert "what is shuffled to count grows with exponent 0.00 (aim: does not grow: reached)" in text
    assert "at most 7.5 GiB (aim ≤ 12 GiB: reached)" in text


def test_different_digests_are_told():
    found = {
        "small": _sized(100_000_000, 9.0, executors=1, executor_memory="450m", digest="other"),
        "ample": _sized(100_000_000, 5.0),
    }
    text = scale_tables.spill_section(found)

    assert "5.1 times the executor's heap (aim ≥ 5 and the same digest: missed)" in text
    assert "DIFFERENT" in text


def test_event_log_tells_what_was_shuffled_spilled_and_stored(tmp_path):
    manager = {"Executor ID": "0", "Host": "127.0.0.2", "Port": 1}
    task = {"Shuffle Write Metrics": {"Shuffle Bytes Written": 70}, "Disk Bytes Spilled": 5}

    def block(memory: int, disk: int, name: str = "rdd_1_0") -> dict[str, object]:
        info = {"Block ID": name, "Memory Size": memory, "Disk Size": disk, "Block Manager ID": manager}
        return {"Event": "SparkListenerBlockUpdated", "Block Updated Info": info}

    events = [
        {"Event": "SparkListenerBlockManagerAdded", "Block Manager ID": manager, "Maximum Memory": 900},
        {
            "Event": "SparkListenerTaskEnd", "Stage ID": 3, "Task End Reason": {"Reason": "Success"},
            "Task Metrics": task,
        },
        {"Event": "SparkListenerTaskEnd", "Stage ID": 3, "Task End Reason": {"Reason": "ExecutorLostFailure"}},
        block(100, 0), block(0, 60), {"Event": "SparkListenerUnpersistRDD", "RDD ID": 1}, block(0, 50, "rdd_2_0"),
        {
            "Event": "SparkListenerStageCompleted",
            "Stage Info": {
                "Stage ID": 3, "Submission Time": 5000, "Accumulables": [{"Name": "data size", "Value": "300"}]
            },
        },
    ]  # fmt: skip
    (tmp_path / "app").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"Event": "half')
    stages, stored = eventlog.read(tmp_path)

    assert stages == [eventlog.Stage(submitted=5.0, tasks=1, written=70, data=300, spilled=5)]
    assert stored == eventlog.Stored(memory=100, disk=60, room=900)
    assert eventlog.within(stages, 4.0, 6.0) == stages
    assert eventlog.within(stages, 6.0, 7.0) == []


def test_passes_are_read_off_the_engines_log():
    from benchmarks import scale
    from spark_uplift.spark import data_parallel

    with scale.listening() as heard:
        logging.getLogger("spark_uplift.spark.train").info("strategy %s", "data_parallel")
        data_parallel._LOG.info(scale._PASS, "counted", 4, 2, 1, 0.5)

    assert scale._PASS in inspect.getsource(data_parallel)
    assert heard.began > 0.0
    assert [(x["kind"], x["nodes"], x["trees"], x["depth"], x["seconds"]) for x in heard.passes] == [
        ("counted", 4, 2, 1, 0.5)
    ]
