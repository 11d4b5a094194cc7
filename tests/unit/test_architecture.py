"""The layer table, kept by a walk over every import: change it with a reason in the commit, or not at all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "spark_uplift"

PURE = ("errors", "config", "schemas", "core", "criteria", "metrics", "checks", "policy", "monitor", "report")
BASE = ("errors", "schemas", "config", "datasets", "synthetic")

# Layer -> layers that it may import from. A layer is a top-level module or folder of the package, with the
# modules named after it (config_faults belongs to config). Each may import from itself; `errors` is open
# to everybody.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "config": (),
    "schemas": (),
    "datasets": (),
    "synthetic": (),
    "core": (),  # the grower is handed a criterion; it never imports one
    "criteria": ("core",),
    "metrics": ("core",),
    "checks": ("config", "core", "metrics"),
    "policy": ("config", "core", "metrics"),
    "monitor": ("config", "core", "metrics", "checks"),
    "report": ("config", "schemas", "metrics", "checks"),
    "spark": (*BASE, *PURE),
    "learners": (*BASE, *PURE, "spark"),
    "serving": ("core", "spark"),  # scores where neither pyspark nor mlflow is installed
    "tracking": (*BASE, *PURE, "spark", "learners", "serving"),
    "pipeline": (*BASE, *PURE, "spark", "learners", "tracking"),
    "terminal": (),
    "cli": (*BASE, *PURE, "spark", "learners", "tracking", "pipeline", "terminal"),
}
HEAVY_BY_LAYER = {
    "core": {"pyspark", "delta", "mlflow", "pandas"},
    **{
        layer: {"pyspark", "delta", "mlflow"}
        for layer in (*BASE, *PURE, "serving", "terminal")
        if layer != "core"
    },
}
ONLY_IN = {"delta": "spark/tables.py", "mlflow": "tracking.py"}

# Works on classic Spark alone, or ties training to a gang of executors (design E5); docs/platforms.md has the table.
BANNED_ATTRIBUTES = {
    *("rdd", "sparkContext", "_sc", "parallelize", "treeAggregate", "toLocalIterator"),
    *("_jdf", "_jvm", "_jsc", "_jconf", "_jsparkSession", "_jcols", "_jreader"),
    *("_java_obj", "_to_java", "_call_java"),
    *("barrier", "accumulator", "addPyFile", "addFile", "setCheckpointDir", "localCheckpoint"),
    *("createGlobalTempView", "createOrReplaceGlobalTempView"),  # serverless has none
    *("addArtifact", "addArtifacts"),  # may not reach the sandbox of a UDF
}
BANNED_NAMES = {
    *("SparkContext", "SQLContext", "RDD", "BarrierTaskContext", "DeltaTable", "Accumulator", "Broadcast"),
    *("pickle", "cloudpickle", "joblib", "py4j", "mllib", "JavaMLWritable", "JavaMLReadable"),
}
# Fine as names of our own functions and modules; as methods that are called they are Spark's.
BANNED_CALLS = {
    "checkpoint": "DataFrame.checkpoint needs a folder that only the cluster's settings can name",
    "broadcast": "SparkContext.broadcast; F.broadcast, the hint for joins, is another thing",
    "foreachPartition": "side effects double with retried and speculative tasks",
}
# Randomness is a function of the unit, never of where its row lies.
UNSTABLE = {"monotonically_increasing_id", "randomSplit", "spark_partition_id", "zipWithIndex", "sampleBy"}
UNSTABLE_FUNCTIONS = {"rand", "randn", "uniform", "randstr", "shuffle", "uuid"}  # of pyspark.sql.functions
EXCEPTIONS = {
    "spark/slots.py": {"spark_partition_id"},  # counts partitions; no row's fate hangs on it
    "spark/batches.py": {"conf.set"},  # puts the setting back, and does without where it is refused
}

MAX_LINES = 400
MAX_FUNCTION = 60
MAX_KERNEL = (
    120  # a kernel's inner loops share arrays that numba would otherwise count references to, call by call
)
UNTYPED = "no-untyped-def"  # marks what numba compiles; its types are inferred

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return layer_named(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def layer_named(module: str) -> str:
    return module if module in ALLOWED else module.partition("_")[0] or module


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what is imported, as dotted names with the names of ``from`` imports appended, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def typing_only(tree: ast.AST) -> set[int]:
    """Return the lines of imports for type checkers; they exist at no run time."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":
        return
    layer, relative = layer_of(path), str(path.relative_to(PACKAGE))
    assert layer in ALLOWED, f"{relative} is in no layer of the table"
    skipped = typing_only(tree)
    for name, line in imports(tree):
        parts = name.split(".")
        where = f"{relative}:{line} imports {name}"
        if parts[0] == "spark_uplift" and line not in skipped:
            target = parts[1] if parts[1] == "__version__" else layer_named(parts[1])
            assert target in (layer, "errors", "__version__", *ALLOWED[layer]), where
        if line not in skipped:
            assert parts[0] not in HEAVY_BY_LAYER.get(layer, set()), where
        if parts[0] in ONLY_IN:
            assert relative == ONLY_IN[parts[0]], f"{where}; only {ONLY_IN[parts[0]]} may"


def not_portable(tree: ast.AST, allowed: set[str] | None = None) -> list[str]:
    """Return what a module uses beyond the DataFrame API, as ``line: what``."""
    allowed = allowed or set()
    unstable = UNSTABLE - allowed
    attributes, names = BANNED_ATTRIBUTES | unstable, BANNED_NAMES | unstable
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_functions = ast.unparse(node.value) in ("F", "functions") and node.attr in UNSTABLE_FUNCTIONS
            if node.attr in attributes or of_functions:
                found.append(f"{node.lineno}: .{node.attr}")
        elif isinstance(node, ast.Name) and node.id in names:
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.keyword) and node.arg == "barrier":
            found.append(f"{node.value.lineno}: barrier mode")
        elif isinstance(node, ast.Constant) and node.value in BANNED_ATTRIBUTES:  # getattr(df, "_jdf")
            found.append(f"{node.lineno}: {node.value!r}")
        elif isinstance(node, ast.Call):
            found += _banned_calls(node, allowed)
    for name, line in imports(tree):
        parts = set(name.split("."))
        drawn = UNSTABLE_FUNCTIONS if name.startswith("pyspark.sql.functions.") else set()
        found += [f"{line}: imports {used}" for used in sorted(parts & (BANNED_NAMES | unstable | drawn))]
    return found


def _banned_calls(node: ast.Call, allowed: set[str]) -> list[str]:
    if not isinstance(node.func, ast.Attribute):
        return []
    receiver, method = ast.unparse(node.func.value), node.func.attr
    if method in BANNED_CALLS and receiver not in ("F", "functions", "np", "self"):
        return [f"{node.lineno}: .{method}() ({BANNED_CALLS[method]})"]
    if method == "set" and receiver.endswith(".conf") and "conf.set" not in allowed:
        return [
            f"{node.lineno}: {receiver}.set (the session is the user's, and serverless lets six settings be set)"
        ]
    return []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_dataframe_api_alone(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not_portable(tree, EXCEPTIONS.get(relative)) == [], relative


@pytest.mark.parametrize(
    "line",
    [
        "spark.sparkContext.defaultParallelism",
        "df.rdd.map(f)",
        "df._jdf.queryExecution()",
        "spark._jvm.java",
        "spark._jsc",
        "spark._jsparkSession",
        "getattr(spark, '_jvm')",
        "df.mapInArrow(f, schema, barrier=True)",
        "rows.barrier()",
        "from pyspark import BarrierTaskContext",
        "from delta.tables import DeltaTable",
        "import delta.tables.DeltaTable",
        "sc.broadcast(model)",
        "sc.accumulator(0)",
        "df.localCheckpoint()",
        "df.checkpoint()",
        "df.checkpoint(eager=False)",
        "F.monotonically_increasing_id()",
        "from pyspark.sql.functions import monotonically_increasing_id",
        "F.rand(42)",
        "F.randn()",
        "from pyspark.sql.functions import rand",
        "df.randomSplit([1.0, 1.0])",
        "import cloudpickle",
        "from py4j.protocol import Py4JJavaError",
        "spark.conf.set('spark.sql.shuffle.partitions', '2')",
        "spark.addArtifacts('f.py')",
    ],
)
def test_the_walk_sees_what_is_not_portable(line: str) -> None:
    assert not_portable(ast.parse(line)) != []


@pytest.mark.parametrize(
    "line",
    [
        "df.crossJoin(F.broadcast(blocks))",
        "np.broadcast(a, b)",
        "from spark_uplift.spark import checkpoint",
        "checkpoint.write(state)",
        "spark.conf.get('spark.master', '')",
        "rng.shuffle(rows)",
        "df.persist()",
    ],
)
def test_the_walk_lets_portable_code_pass(line: str) -> None:
    assert not_portable(ast.parse(line)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= MAX_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            length = (node.end_lineno or 0) - first.lineno + 1
            limit = MAX_KERNEL if UNTYPED in lines[node.lineno - 1] else MAX_FUNCTION
            assert length <= limit, f"{path.name}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_public_functions_are_documented(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name} has no docstring"
        if isinstance(node, ast.FunctionDef) and UNTYPED not in lines[node.lineno - 1]:
            assert node.returns is not None, f"{path.name}:{node.lineno} {node.name} has no return type"


def test_every_raises_in_the_tests_matches_a_message() -> None:
    bare = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            matched_later = any(isinstance(c.func, ast.Attribute) and c.func.attr == "match" for c in calls)
            bare += [
                f"{path.relative_to(ROOT)}:{call.lineno}"
                for call in calls
                if ast.unparse(call.func) == "pytest.raises"
                and not (matched_later or any(keyword.arg == "match" for keyword in call.keywords))
            ]
    assert bare == []


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    found = [
        str(path.relative_to(ROOT)) for path in MODULES if marks.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_walk_itself_sees_imports(tmp_path: Path) -> None:
    tree = ast.parse(
        "import delta\nfrom spark_uplift.spark import tables\ndef f():\n    import mlflow.pyfunc\n"
    )
    assert [name for name, _ in imports(tree)] == ["delta", "spark_uplift.spark.tables", "mlflow.pyfunc"]
    assert layer_of(PACKAGE / "config_faults.py") == "config"
    guarded = ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pyspark\n")
    assert typing_only(guarded) == {2, 3}
