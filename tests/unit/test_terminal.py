"""What a run shows, as text of a fixed width."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from spark_uplift.terminal import TerminalProgress, interval, number, plan_table, summary_tables


def console(terminal: bool = False, width: int = 120) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=terminal,
        color_system=None,
        _environ={"TERM": "xterm"},
    )


def shown(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def metric(arm: str, name: str, value: float | None, **more: Any) -> dict[str, Any]:
    row = {"arm": arm, "metric": name, "style": "grf", "value": value, "lower": None, "upper": None}
    return {**row, "level": 0.95, **more}


def segment(rule: str, arm: str, recommended: str, uplift: float | None = 0.25) -> dict[str, Any]:
    return {
        "rule": rule, "arm": arm, "recommended": recommended, "share": 0.3, "uplift": uplift,
        "lower": 0.1, "upper": 0.4,
    }  # fmt: skip


def rendered(*tables: Any) -> str:
    target = console(width=160)
    for table in tables:
        target.print(table)
    return shown(target)


def test_a_log_gets_a_line_a_step_and_a_line_a_wave() -> None:
    target = console()
    progress = TerminalProgress(target)
    progress.step("train", "grow the forest")
    progress.advance(50, 200, 3.0)
    progress.advance(200, 200, 12.0)
    progress.done("train")
    lines = shown(target).splitlines()
    assert lines[0] == "train     grow the forest"
    assert lines[1].strip() == "50 of 200 trees, 3 s, about 9 s left"
    assert lines[2].strip() == "200 of 200 trees, 12 s, about 0 s left"
    assert re.fullmatch(r"\s+done in \d+\.\d s", lines[3])


def test_nothing_done_yet_has_no_time_left() -> None:
    target = console()
    TerminalProgress(target).advance(0, 200, 1.0)
    assert "0 of 200 trees" in shown(target)


def test_a_terminal_gets_a_bar_with_trees_and_time_left_that_goes_away() -> None:
    target = console(terminal=True)
    progress = TerminalProgress(target)
    progress.step("train", "grow the forest")
    progress.advance(50, 200, 3.0)
    progress.advance(100, 200, 6.0)
    assert progress._bar is not None
    text = shown(target)
    assert "50/200 trees, 3 s, about 9 s left" in text
    assert "100/200 trees, 6 s, about 6 s left" in text
    progress.advance(200, 200, 12.0)
    assert progress._bar is None
    progress.done("train")


def test_an_error_in_the_middle_leaves_no_bar() -> None:
    progress = TerminalProgress(console(terminal=True))
    progress.advance(1, 2, 1.0)
    progress.close()
    progress.close()
    assert progress._bar is None


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0"), (0.12345, "0.123"), (12345.6, "1.23e+04"), (-0.5, "-0.5")]
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_interval_needs_both_ends() -> None:
    assert interval({"value": 0.5, "lower": 0.1, "upper": 0.9}) == "0.5  (0.1 to 0.9)"
    assert interval({"value": 0.5, "lower": None, "upper": 0.9}) == "0.5"


def test_the_summary_has_arms_effects_and_the_best_segments() -> None:
    metrics = [
        metric("mail", "ate", 0.05, lower=0.01, upper=0.09),
        metric("mail", "autoc", 0.02, lower=-0.01, upper=0.05),
        metric("mail", "qini", 0.004),
        metric("call", "ate", 0.1),
        metric("*", "autoc", 0.03),
    ]
    segments = [segment(f"age > {i}", "mail", "mail" if i != 2 else "call") for i in range(1, 6)]
    text = rendered(*summary_tables(metrics, segments, "visits"))
    assert "Effect on visits, on the holdout (95 % interval)" in text
    lines = text.splitlines()
    order = [
        next(i for i, line in enumerate(lines) if f" {name} " in line)
        for name in ("call", "mail", "best arm for each")
    ]
    assert order == sorted(order)
    assert "0.05  (0.01 to 0.09)" in text
    assert "0.02  (-0.01 to 0.05)" in text
    assert "age > 1" in text
    assert "age > 2" not in text  # the arm of that row is not the one recommended there
    assert "age > 4" in text
    assert "age > 5" not in text
    assert "0.25  (0.1 to 0.4)" in text


def test_an_odd_level_is_shown_as_it_is() -> None:
    (table,) = summary_tables([metric("mail", "ate", 0.05, level=0.995)], [], "visits")
    assert "(99.5 % interval)" in " ".join(rendered(table).split())


def test_no_metric_and_no_segment_is_no_error() -> None:
    (table,) = summary_tables([], [], "visits")
    assert "Effect on visits, on the holdout" in rendered(table)


def test_brackets_in_names_are_no_markup() -> None:
    metrics = [metric("[red]50 % off[/red]", "ate", 0.05)]
    segments = [segment("town is [bold]", "[x]", "[x]")]
    text = rendered(*summary_tables(metrics, segments, "[/]visits"))
    for name in ("[red]50 % off[/red]", "town is [bold]", " [x] ", "[/]visits"):
        assert name in text
    plan = rendered(plan_table([{"step": "check", "what": "read /data/[a]/x", "writes": "[b]"}]))
    assert "read /data/[a]/x" in plan
    target = console()
    TerminalProgress(target).step("check", "[/nothing]")
    assert "[/nothing]" in shown(target)
