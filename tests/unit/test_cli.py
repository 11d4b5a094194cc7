"""The command line without Spark: exit codes, options, plans, and what stands on the terminal."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from spark_uplift import cli
from spark_uplift.cli_options import console_for_output
from spark_uplift.errors import (
    CheckFailedError,
    ColumnNotFoundError,
    ConfigError,
    DataError,
    EnvironmentFaultError,
    ModelError,
    TableError,
)
from spark_uplift.pipeline import context as contexts
from spark_uplift.pipeline import run as use_case
from spark_uplift.pipeline.personalize import run as campaign

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("check", "prepare", "train", "evaluate", "score", "decide", "report")


@pytest.fixture(autouse=True)
def _quiet_logging() -> Iterator[None]:
    """The command line sets up logging for a process of its own."""
    root, ours = logging.getLogger(), logging.getLogger("spark_uplift")
    handlers, level = list(root.handlers), ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    values = {
        "name": "trial",
        "warehouse": str(tmp_path / "warehouse"),
        "experiment": {
            "path": str(tmp_path / "rows.parquet"),
            "treatment": "arm",
            "control": "0",
            "outcome": "y",
        },
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


class Context:
    """What the command line needs of a run."""

    def __init__(self, config: Any) -> None:
        self.config, self.run_id, self.warehouse, self.progress = config, "trial-1", config.warehouse, self
        self.told: list[str] = []

    def step(self, name: str, text: str) -> None:
        self.told.append(name)

    def done(self, text: str) -> None: ...

    def small_rows(self, name: str) -> list[dict[str, Any]]:
        if name != "job_runs":
            return []
        rows = [
            {
                "job": "report",
                "outputs": {"report": "out/report.html", "mlflow_model": "models:/m-1"},
                "digest": "d1",
            },
            {"job": "train", "outputs": {"model": "out/models/m"}, "digest": "d1"},
            {"job": "check", "outputs": None, "digest": None},
        ]
        return rows


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """Runs that were opened; their steps do nothing."""
    found: list[Context] = []

    def open_run(config: Any, progress: Any = None) -> Context:
        found.append(Context(config))
        return found[-1]

    monkeypatch.setattr(contexts, "open_run", open_run)
    steps = tuple(
        SimpleNamespace(name=step.name, text=step.text, writes=step.writes, work=lambda context: None)
        for step in use_case.STEPS
    )
    monkeypatch.setattr(use_case, "STEPS", steps)
    return found


@pytest.fixture
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a session was started")

    monkeypatch.setattr(contexts, "get_session", start)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def open_run(*args: Any) -> None:
        raise error

    monkeypatch.setattr(contexts, "open_run", open_run)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TableError("The table x was not made by spark_uplift."), 1),
        (ModelError("The model x is damaged."), 1),
        (EnvironmentFaultError("Java was not found."), 1),
        (ConfigError("The key x is unknown."), 2),
        (DataError("The column [bold]x[/bold] must be numeric."), 2),
        (ColumnNotFoundError.of(["agee"], ["age"]), 2),
        (CheckFailedError("1 finding fails the experiment:\n  - leak: x"), 3),
    ],
)
def test_exit_codes(monkeypatch, capsys, conf: Path, error: Exception, code: int) -> None:
    failing(monkeypatch, error)
    assert cli.main(["run", "--conf", str(conf)]) == code
    shown = capsys.readouterr()
    assert shown.err.startswith("error ")
    assert str(error) in shown.err  # whole, brackets and all, not folded
    assert "Traceback" not in shown.err


def test_a_bug_shows_its_traceback(monkeypatch, caplog, conf: Path) -> None:
    failing(monkeypatch, RuntimeError("this was not foreseen"))
    assert cli.main(["run", "--conf", str(conf)]) == 1
    assert "The job failed." in caplog.text
    assert "this was not foreseen" in caplog.text
    assert "Traceback" in caplog.text


def test_ctrl_c_is_130(monkeypatch, capsys, conf: Path) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["run", "--conf", str(conf)]) == 130


def test_a_run_goes_through_every_step_and_ends_with_the_paths(opened, capsys, conf: Path) -> None:
    assert cli.main(["run", "--conf", str(conf)]) == 0
    assert opened[0].told == [verb for verb in VERBS if verb != "decide"]  # which has no section here
    out = capsys.readouterr().out
    for line in (
        "report        out/report.html",
        "model         out/models/m",
        "MLflow model  models:/m-1",
        "decide    skipped",
    ):
        assert line in out


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_runs_its_step_alone(opened, conf: Path, verb: str) -> None:
    assert cli.main([verb, "--conf", str(conf)]) == 0
    assert opened[0].told == [verb]


def test_set_overrides_the_file_and_may_be_repeated(opened, conf: Path) -> None:
    options = [
        "--set",
        "forest.numTrees=7",
        "--set",
        "evaluation.bootstrap=20",
        "--set",
        "spark.conf.spark.ui.port=1",
    ]
    assert cli.main(["run", "--conf", str(conf), *options]) == 0
    config = opened[0].config
    assert (config.forest.numTrees, config.evaluation.bootstrap) == (7, 20)
    assert config.spark.conf == {"spark.ui.port": "1"}


def test_json_is_the_last_line(opened, capsys, conf: Path) -> None:
    for verb in ("run", "train"):
        assert cli.main([verb, "--conf", str(conf), "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert found["run_id"] == "trial-1"
        assert found["digest"] == "d1"
        assert found["model"] == "out/models/m"
        assert found["report"] == "out/report.html"


def test_a_warehouse_with_a_login_or_brackets_is_shown_right(opened, capsys, conf: Path) -> None:
    assert (
        cli.main(["check", "--conf", str(conf), "--set", "warehouse=s3a://me:hunter2@box/[bold]x", "--json"])
        == 0
    )
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "s3a://***@box/[bold]x" in shown.out.splitlines()[0]


@pytest.mark.parametrize("verb", ("run", *VERBS))
def test_a_dry_run_shows_the_plan_and_touches_nothing(no_spark, capsys, conf: Path, verb: str) -> None:
    before = sorted(conf.parent.rglob("*"))
    assert cli.main([verb, "--conf", str(conf), "--dry-run", "--set", "forest.numTrees=33"]) == 0
    out = capsys.readouterr().out
    assert "nothing is read or written" in out
    steps = VERBS if verb == "run" else (verb,)
    assert [
        line.split()[1] for line in out.splitlines() if line.startswith("│") and line.split()[1] in VERBS
    ] == list(steps)
    assert ("33 trees" in out) == ("train" in steps)
    assert sorted(conf.parent.rglob("*")) == before


def test_a_plan_has_no_secrets(no_spark, capsys, conf: Path) -> None:
    options = [
        "--set",
        "experiment.path=s3a://me:hunter2@box/rows",
        "--set",
        "score.path=https://h/l?sig=hunter2",
    ]
    assert cli.main(["run", "--conf", str(conf), "--dry-run", *options]) == 0
    out = "".join(part.strip(" │\n") for part in capsys.readouterr().out.splitlines())
    assert "hunter2" not in out
    assert "***" in out


def test_the_demo_needs_no_configuration(no_spark, capsys) -> None:
    assert cli.main(["demo", "--dry-run", "--set", "forest.numTrees=20"]) == 0
    out = capsys.readouterr().out
    assert "randhie" in out
    assert "20 trees" in out
    assert cli.example("randhie.yaml") == ROOT / "conf" / "examples" / "randhie.yaml"


def test_every_fault_of_the_configuration_is_told_at_once(no_spark, capsys, conf: Path) -> None:
    options = [
        "--set",
        "forest.numTree=3",
        "--set",
        "forest.maxBins=999",
        "--set",
        "experiment.control=null",
        "--set",
        "x",
    ]
    assert cli.main(["run", "--conf", str(conf), *options]) == 2
    err = capsys.readouterr().err
    assert "faults in the configuration" in err
    assert "numTree" in err
    assert "did you mean" in err
    assert "numTrees" in err
    assert "forest.maxBins" in err
    assert "experiment.control" in err
    assert "must be KEY=VALUE" in err


def test_a_file_that_is_not_there(no_spark, capsys, conf: Path) -> None:
    assert cli.main(["run", "--conf", str(conf.with_name("runn.yaml"))]) == 2
    assert "run.yaml" in capsys.readouterr().err.split("did you mean")[1]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["run", "--sett", "a=b"], "--sett"),
        (["runn"], "runn"),
        (["run"], "--conf"),
        (["run", "--conf"], "--conf"),
        (["check", "extra", "--conf", "x.yaml"], "extra"),
    ],
)
def test_a_wrong_call_is_exit_2(no_spark, capsys, arguments: list[str], shown: str) -> None:
    assert cli.main(arguments) == 2
    assert shown in capsys.readouterr().err


def test_help_names_every_verb(capsys) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in ("run", "demo", *VERBS):
        assert f" {verb} " in out
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--conf", "--set", "--dry-run", "--json"):
        assert option in out


@pytest.mark.parametrize(("columns", "width"), [("", 120), ("200", 200), ("3", 40), ("wide", 120)])
def test_the_width_of_a_log(monkeypatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert console_for_output().width == width


def test_an_unknown_log_level_is_no_crash(monkeypatch, no_spark, capsys, conf: Path) -> None:
    monkeypatch.setenv("SPARK_UPLIFT_LOG", "loud")
    assert cli.main(["run", "--conf", str(conf), "--dry-run"]) == 0
    assert logging.getLogger("spark_uplift").level == logging.INFO


def calls(node: ast.AST) -> list[str]:
    return [ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)]


@pytest.mark.parametrize("verb", ("run", *VERBS))
def test_jobs_are_thin(verb: str) -> None:
    path = ROOT / "jobs" / f"{verb}.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    docstring, *imports, guard = body
    assert isinstance(docstring, ast.Expr)
    assert f"jobs/{verb}.py" in ast.unparse(docstring)
    assert [ast.unparse(line) for line in imports] == ["import sys", "from spark_uplift.cli import main"]
    assert isinstance(guard, ast.If)
    assert [ast.unparse(line) for line in guard.body] == [f"sys.exit(main(['{verb}', *sys.argv[1:]]))"]


def test_a_job_a_step_and_no_others() -> None:
    assert {step.name for step in use_case.STEPS} == set(VERBS)
    commands: list[Callable[..., Any]] = [command.callback for command in cli.app.registered_commands]  # type: ignore[misc]
    assert len(commands) == len(VERBS) + 2
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    assert jobs == {"run", "personalize", *VERBS}


def test_the_plan_names_what_every_step_writes() -> None:
    from spark_uplift import schemas

    written = {name for step in (*use_case.STEPS, *campaign.STEPS) for name in step.writes}
    assert {name for name in schemas.TABLES if name != "job_runs"} <= written
