from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spark_uplift.config import RunConfig, json_schema, load_config, parse_config
from spark_uplift.config_campaign import load_campaign
from spark_uplift.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = """
name: trial
warehouse: out
experiment: {path: data.parquet, treatment: arm, control: control, outcome: y}
"""
ARM_WORDS = "The 'experiment.arms' parameter of the configuration must be two or more different arms"


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(
    file: Any, text: str, overrides: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError, match=r"\S") as caught:
        load_config(file(text), overrides, environ or {})
    return caught.value.faults


def test_defaults_are_those_of_the_design(file) -> None:
    config = load_config(file(MINIMAL), environ={})
    assert config.forest.model_dump() == {
        "criterion": "gradient",
        "normalization": "paper",
        "numTrees": 100,
        "maxDepth": 7,
        "maxBins": 64,
        "minInstancesPerNode": 200,
        "minInstancesPerArm": 20,
        "nReg": 100.0,
        "shrinkage": 500.0,
        "subsamplingRate": 1.0,
        "bootstrap": True,
        "featureSubsetStrategy": "auto",
        "honest": False,
        "intervals": False,
        "intervalLevel": 0.9,
        "strategy": "auto",
        "checkpointPath": None,
    }
    assert config.checks.model_dump() == {
        "srm_alpha": 0.001,
        "max_quarantined_share": 0.05,
        "arm_auc": 0.6,
        "max_missing_share": 0.95,
        "warn_only": (),
    }
    assert (config.seed, config.split.holdout) == (1, 0.3)
    assert config.evaluation.model_dump() == {
        "bootstrap": 200,
        "level": 0.95,
        "buckets": 10,
        "intervals": "poisson",
        "compare_to": None,
    }
    assert config.mlflow.alias == "champion"


@pytest.mark.parametrize(
    "example", sorted((ROOT / "conf" / "examples").glob("*.yaml")), ids=lambda path: path.name
)
def test_examples_are_valid(example: Path) -> None:
    load = load_campaign if "recipients:" in example.read_text(encoding="utf-8") else load_config
    assert load(example, environ={}).name == example.stem


def test_all_faults_come_together_with_the_nearest_names(file) -> None:
    text = (
        MINIMAL.replace("outcome: y", "outcom: y")
        + "forest: {numTree: 3, maxBins: 300, honest: 1}\nsplit: 0.3\n"
    )
    assert faults(file, text) == [
        "The 'experiment.outcome' parameter of the configuration is missing: column that holds the outcome.",
        "The 'experiment.outcom' parameter of the configuration is unknown. Hint: did you mean 'outcome'?",
        "The 'split' parameter of the configuration must be a section of keys. Got 0.3 instead.",
        "The 'forest.maxBins' parameter of the configuration must be an int in the range [2, 254]. "
        "Got 300 instead.",
        "The 'forest.honest' parameter of the configuration must be true or false. Got 1 instead.",
        "The 'forest.numTree' parameter of the configuration is unknown. Hint: did you mean 'numTrees'?",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", r"'seed' .* an int in the range \[0, \d+\)\. Got -1 instead"),
        ("seed=true", "'seed' .* Got True instead"),
        ("name=a/b", "'name' .* up to 64 letters, digits"),
        ("experiment.dataset=hilstrom", r"must be one of \['randhie', 'hillstrom'\] or null"),
        ("experiment.features=age", "'experiment.features' .* must be a list, each a text"),
        ("experiment.control=1.5", 'Got 1.5 instead. Hint: put it in quotes: control: "1.5"'),
        ("forest.criterion=gini", r"must be one of \['kl', 'ed', 'chi'"),
        ("forest.nReg=-1", r"a number in the range \[0, inf\)"),
        ("forest.nReg=.nan", r"a number in the range \[0, inf\)\. Got nan instead"),
        ("forest.subsamplingRate=0", r"a number in the range \(0, 1\]"),
        ("forest.numTrees=1.5", r"an int in the range \[1, 10000\]\. Got 1.5 instead"),
        ("forest.featureSubsetStrategy=half", "'auto', 'all', 'sqrt', 'onethird', a count or a share"),
        ("forest.featureSubsetStrategy=1.5", "a count or a share in"),
        ("evaluation.level=1", r"a number in the range \(0, 1\)"),
        ("split.holdout=0.0", r"a number in the range \(0, 1\)"),
        ("forest.numTrees.x=1", "'forest.numTrees' parameter .* must be an int"),
        (
            "experiment.zzz=1",
            r"'experiment.zzz' .* is unknown. Hint: known keys here are \['dataset', 'path'",
        ),
        ("spark.conf=[1]", "'spark.conf' .* must be a mapping"),
    ],
)
def test_each_bad_value_gets_its_sentence(file, override: str, message: str) -> None:
    found = faults(file, MINIMAL, (override,))
    assert any(re.search(message, fault) for fault in found), found


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment.table=t", "exactly one of dataset, path and table. Got path and table instead"),
        ("experiment.path=null", "exactly one of dataset, path and table. Got none of them instead"),
        ("experiment.arms=[a, b]", f"{ARM_WORDS}, the control 'control' among them"),
        ("experiment.arms=[control, a, a]", ARM_WORDS),
        ("experiment.arms=[control]", ARM_WORDS),
        ("experiment.shares={control: 0.5, a: 0.6}", "shares that add to 1, .* which add to 1.1"),
        ("experiment.shares={b: 0.5, a: 0.5}", "that of the control 'control' among them"),
    ],
)
def test_keys_that_contradict_each_other(file, override: str, message: str) -> None:
    (fault,) = faults(file, MINIMAL, (override,))
    assert re.search(message, fault), fault


def test_rules_of_several_keys_are_reported_beside_bad_values(file) -> None:
    found = faults(file, MINIMAL, ("experiment.table=t", "forest.maxBins=1", "score.path=a", "score.table=b"))
    assert [re.search(r"maxBins|exactly one|at most one", fault).group() for fault in found] == [
        "maxBins",
        "exactly one",
        "at most one",
    ]


def test_later_sources_win(file) -> None:
    text = MINIMAL + "forest: {numTrees: 1, maxDepth: 2, maxBins: 3}\n"
    environ = {"SPARK_UPLIFT__FOREST__NUMTREES": "10", "SPARK_UPLIFT__FOREST__MAXDEPTH": "9", "OTHER": "x"}
    config = load_config(file(text), ["forest.numTrees=20"], environ)
    assert (config.forest.numTrees, config.forest.maxDepth, config.forest.maxBins) == (20, 9, 3)


def test_an_unknown_environment_variable_is_a_fault(file) -> None:
    (fault,) = faults(file, MINIMAL, environ={"SPARK_UPLIFT__FOREST__TREES": "1"})
    assert fault.startswith(
        "The 'forest.trees' parameter of the configuration is unknown. Hint: did you mean"
    )


def test_values_of_overrides_are_yaml(file) -> None:
    overrides = [
        "experiment.features=[a, b]",
        "checks.srm_alpha=1e-3",
        "experiment.control=no",
        "experiment.arms=[no, 1]",
        "spark.conf.spark.sql.shuffle.partitions=4",
        "spark.conf.spark.sql.ansi.enabled=true",
        "experiment.shares.no=1.0",
        "mlflow.model_name=",
    ]
    config = load_config(file(MINIMAL), overrides, {})
    assert config.experiment.features == ("a", "b")
    assert config.checks.srm_alpha == 1e-3
    assert config.experiment.control == "no"
    assert config.experiment.arms == ("no", "1")
    assert config.spark.conf == {"spark.sql.shuffle.partitions": "4", "spark.sql.ansi.enabled": "true"}
    assert config.experiment.shares == {"no": 1.0}
    assert config.mlflow.model_name is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("numTrees", "The '--set' option must be KEY=VALUE, e.g. forest.numTrees=20. Got 'numTrees' instead"),
        ("forest.numTrees=[1", "The '--set' option 'forest.numTrees' is not valid YAML"),
        ("name.x=1", "can't be set: 'name' is not a section"),
        ("name=!!python/object/apply:os.system [ls]", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_overrides_that_can_not_be_read(file, override: str, message: str) -> None:
    assert any(message in fault for fault in faults(file, MINIMAL, (override,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not valid YAML"),
        ("- a", "must hold keys and values"),
        ("", "must hold keys and values. Got None instead"),
        (MINIMAL + "name: again\n", "the key 'name' is given twice"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_files_that_are_no_configuration(file, text: str, message: str) -> None:
    assert any(message in fault for fault in faults(file, text))


def test_a_missing_file_names_the_nearest(file) -> None:
    path = file(MINIMAL)
    with pytest.raises(ConfigError, match=r"'.*runn\.yaml' can't be read: .* did you mean '.*run\.yaml'"):
        load_config(path.with_name("runn.yaml"), environ={})


def test_a_file_that_is_not_text(file, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(tmp_path / "run.yaml", environ={})


def test_the_canonical_form_does_not_depend_on_order_or_spelled_out_defaults(file) -> None:
    first = load_config(file(MINIMAL), environ={})
    values = json.loads(first.canonical_json())
    again = parse_config(dict(reversed(values.items())))
    assert again == first
    assert again.sha256 == first.sha256
    assert load_config(file(MINIMAL), ["seed=2"], {}).sha256 != first.sha256


def test_the_run_id_follows_config_source_and_release(file) -> None:
    config = load_config(file(MINIMAL), environ={})
    assert re.fullmatch(r"trial-[0-9a-f]{12}", config.run_id("v1"))
    assert config.run_id("v1", "0.1.0") == config.run_id("v1", "0.1.0")
    assert len({config.run_id("v1", "1"), config.run_id("v2", "1"), config.run_id("v1", "2")}) == 3


def test_the_configuration_can_not_be_changed(file) -> None:
    config = load_config(file(MINIMAL), environ={})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 2  # type: ignore[misc]


def test_the_json_schema_describes_every_key() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(RunConfig.model_fields)
    described = [field for section in schema["$defs"].values() for field in section["properties"].values()]
    assert all("description" in field for field in described)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decide.budget=[]", "'decide.budget' parameter .* is unknown. Hint: did you mean 'budgets'"),
        ("decide.explore=2", r"'decide.explore' parameter .* must be a number in the range \[0, 1\)"),
        (
            "decide.budgets=[{name: a, limit: -1}]",
            r"'decide.budgets.0.limit' .* in the range \[0, inf\). Got -1",
        ),
        ("decide.budgets=[{name: a, limt: 1}]", "'decide.budgets.0.limt' .*did you mean 'limit'"),
    ],
)
def test_faults_inside_sections_that_may_be_null_and_lists_of_sections(file, override, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(file(MINIMAL), [override], {})
