"""MLflow: what a run was and measured, and its model, registered with an alias.

This is the only module that imports mlflow, which takes seconds: only when a function here is called.

Models are logged as a pyfunc of JSON and Parquet files with `spark_uplift.serving` as their loader, never
pickled, so that `mlflow.pyfunc.load_model`, `mlflow.pyfunc.spark_udf` and ``mlflow models serve`` can
score with them. On Spark, `load_model` gives the native model, which is faster and does not go through
pandas.

Logging again what is already there changes nothing but tags and files: a run is found by the tags `RUN_ID`
and `DIGEST` and its params, a registered version by `DIGEST`. A run that was cut short is taken up where
it stopped.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_uplift import __version__, serving
from spark_uplift import tracking_values as values
from spark_uplift.config import MlflowConfig
from spark_uplift.core.forest import Forest
from spark_uplift.errors import ConfigError, EnvironmentFaultError, ModelError, bad_value
from spark_uplift.spark import persist

if TYPE_CHECKING:
    from spark_uplift.learners.forest import UpliftForestModel

_LOG = logging.getLogger(__name__)

LOADER = "spark_uplift.serving"
RUN_ID, DIGEST, VERSION = "spark_uplift.run_id", "spark_uplift.digest", "spark_uplift.version"
"""Tags of runs, logged models and registered versions."""
MODEL_URI = "spark_uplift.model_uri"
"""Tag of a run whose model has been logged whole."""
TABLE = "spark_uplift.table."
"""Prefix of the tags that hold the Delta version of each table."""

_MODEL = "model"
_FOLDER = "forest"
_FOREIGN = ("mlflow", "sqlalchemy", "requests")  # whose errors come out of a tracking store
_UV = "MLFLOW_UV_AUTO_DETECT"  # else lock files of the folder that happens to be current go into the model


@dataclass(frozen=True)
class RunInfo:
    """Where a run and its model are.

    Attributes
    ----------
    run_id : str
        MLflow's id of the run.
    model_uri : str
        What MLflow's functions and `load_model` take.
    model_version : str or None
        Registered version, None when the model is not registered.
    tracking_uri : str
    """

    run_id: str
    model_uri: str
    model_version: str | None
    tracking_uri: str

    def attach(self, *paths: str | Path) -> None:
        """Add files to the run's artifacts; files of the same name are replaced."""
        with _store(self.tracking_uri) as (_, client):
            for path in paths:
                client.log_artifact(self.run_id, str(path))


def log_run(
    model: UpliftForestModel | Forest,
    *,
    warehouse: str | Path,
    run_id: str,
    run_name: str,
    settings: MlflowConfig | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float | None] | None = None,
    tags: Mapping[str, Any] | None = None,
    table_versions: Mapping[str, int] | None = None,
    config: Mapping[str, Any] | None = None,
    artifacts: Sequence[str | Path] = (),
    registered_name: str | None = None,
    alias: str | None = None,
) -> RunInfo:
    """Log a run and its model, register the model, and point the alias at it.

    Parameters
    ----------
    model : UpliftForestModel or Forest
    warehouse : str or Path
        By default everything is kept under it: ``mlflow.db`` and ``mlartifacts``.
    run_id : str
        The run's own id, of which a repetition has the same; a tag.
    run_name : str
        Shown by MLflow, and the default of ``registered_name``.
    settings : MlflowConfig, optional
        Tracking URI, experiment, and defaults of ``registered_name`` and ``alias``.
    params : mapping, optional
        Nested mappings get names with dots. By default the settings of the training.
    metrics : mapping of str to float or None
        Those that are None or not finite are left out.
    tags : mapping, optional
    table_versions : mapping of str to int, optional
        Delta version of each table, as tags: they grow when a run is repeated, and params can't change.
    config : mapping, optional
        Kept as ``config.json``; without secrets, please.
    artifacts : sequence of paths
        Files to keep.
    registered_name, alias : str, optional

    Raises
    ------
    ConfigError
        When a name or alias is one that MLflow refuses.
    TableError
        When the warehouse can't be written.
    EnvironmentFaultError
        When mlflow is missing, or its server fails.
    """
    settings = settings or MlflowConfig()
    forest = model if isinstance(model, Forest) else model.forest
    name = registered_name or settings.model_name or run_name
    alias = alias or settings.alias
    values.check_names(name, alias)
    uri = values.uri_of(settings, warehouse)
    logged = values.strings(
        forest.training.get("settings", {}) if params is None else params, values.PARAM_LENGTH
    )
    marks = values.strings(
        {**(tags or {}), **{TABLE + table: version for table, version in (table_versions or {}).items()}},
        values.TAG_LENGTH,
    )
    identity = {RUN_ID: run_id, DIGEST: forest.digest, VERSION: __version__}
    with _store(uri) as (mlflow, client):
        experiment = _experiment(client, settings.experiment, uri, warehouse)
        found = _find_run(client, experiment, identity, logged)
        start = (
            {"run_id": found.info.run_id} if found else {"experiment_id": experiment, "run_name": run_name}
        )
        with mlflow.start_run(**start, nested=mlflow.active_run() is not None) as run:
            mlflow.set_tags({**identity, **marks})
            mlflow.log_params(logged)
            for path in artifacts:
                mlflow.log_artifact(str(path))
            if config is not None:
                mlflow.log_dict(dict(config), "config.json")
            model_uri = run.data.tags.get(MODEL_URI) or _log_model(mlflow, model, forest, identity)
            mlflow.set_tag(MODEL_URI, model_uri)
            _log_metrics(mlflow, metrics or {}, run.data.metrics, model_uri)
        version = _register(mlflow, client, name, model_uri, run.info.run_id, identity)
        client.set_registered_model_alias(name, alias, version)
    _LOG.info("MLflow run %s; model '%s' version %s is '%s'", run.info.run_id, name, version, alias)
    return RunInfo(run.info.run_id, model_uri, version, uri)


def champion(name: str, alias: str = "champion", *, tracking_uri: str | None = None) -> RunInfo:
    """Return the registered version that an alias points at; its URI names the version, which does not move.

    Raises
    ------
    ModelError
        When there is no such model, or it has no such alias.
    """
    with _store(tracking_uri) as (mlflow, client):
        try:
            version = client.get_model_version_by_alias(name, alias)
        except mlflow.MlflowException as error:
            raise ModelError(
                f"The registered model '{name}' at {mlflow.get_tracking_uri()} must have an alias '{alias}'. "
                f"Got none instead ({error.message}). Hint: `spark-uplift report` registers one."
            ) from error
        return RunInfo(
            version.run_id,
            f"models:/{name}/{version.version}",
            str(version.version),
            mlflow.get_tracking_uri(),
        )


def load_forest(uri: str, *, tracking_uri: str | None = None) -> Forest:
    """Return the forest of a logged or registered model; needs no Spark.

    Parameters
    ----------
    uri : str
        ``models:/<name>@<alias>``, ``models:/<name>/<version>``, ``models:/<model id>`` or a path.

    Raises
    ------
    ModelError
        When there is no such model, it is another package's, or damaged.
    """
    with _files(uri, tracking_uri) as folder:
        return persist.read_local(folder)


def load_model(uri: str, *, tracking_uri: str | None = None) -> UpliftForestModel:
    """Return a logged or registered model as an `UpliftForestModel` with its Params, to score on Spark.

    Parameters and errors are those of `load_forest`.
    """
    from pyspark.ml.util import DefaultParamsReader

    from spark_uplift.learners.forest import UpliftForestModel

    with _files(uri, tracking_uri) as folder:
        model = UpliftForestModel(persist.read_local(folder))
        found = serving.read_metadata(folder)
    if "paramMap" in found:
        model._resetUid(found["uid"])
        DefaultParamsReader.getAndSetParams(model, found)
    return model


@contextmanager
def _store(uri: str | None) -> Iterator[tuple[Any, Any]]:
    """Give (mlflow, client) on a tracking server; leave the process's own settings of mlflow as they were."""
    try:
        import mlflow
    except ImportError as error:
        raise EnvironmentFaultError(
            "Logging to MLflow needs the package mlflow. Hint: pip install 'spark_uplift[mlflow]', "
            "or set mlflow.enabled=false."
        ) from error
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    values.make_folder(uri)
    logger, uv = logging.getLogger("mlflow"), os.environ.get(_UV)
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    os.environ[_UV] = "false"
    try:
        if uri is not None:
            mlflow.set_tracking_uri(uri)
        yield mlflow, mlflow.MlflowClient()
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _FOREIGN:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise EnvironmentFaultError(
            f"MLflow at {uri or before} must take what is logged. Got: {reason} "
            "Hint: look at mlflow.tracking_uri, or set mlflow.enabled=false."
        ) from error
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it
        logger.setLevel(level)
        os.environ.pop(_UV)
        if uv is not None:
            os.environ[_UV] = uv


def _experiment(client: Any, name: str, uri: str, warehouse: str | Path) -> str:
    """Return the experiment's id; it is made when absent."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=values.artifact_location(uri, warehouse)))
    if found.lifecycle_stage != "active":
        raise ConfigError(
            bad_value(
                "mlflow.experiment", "the configuration", "an active experiment or a new name", name,
                hint=f"`mlflow experiments restore --experiment-id {found.experiment_id}` brings it back.",
            )
        )  # fmt: skip
    return str(found.experiment_id)


def _find_run(client: Any, experiment: str, identity: Mapping[str, str], params: Mapping[str, str]) -> Any:
    """Return the newest run of the same identity whose params can stay: MLflow does not change them."""
    for run in client.search_runs([experiment], f"tags.`{DIGEST}` = '{identity[DIGEST]}'"):
        same = all(run.data.tags.get(key) == value for key, value in identity.items())
        if same and all(run.data.params.get(key, value) == value for key, value in params.items()):
            return run
    return None


def _log_model(mlflow: Any, model: Any, forest: Forest, identity: Mapping[str, str]) -> str:
    """Log the model; return its URI."""
    settings = forest.training.get("settings", {})
    extra: dict[str, Any] = {}
    if not isinstance(model, Forest):
        extra = ml_metadata(model)
        settings = serving.settings_of(extra)
    scorer = serving.scorer(forest, settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / _FOLDER
        persist.write_local(forest, folder, extra)
        info = mlflow.pyfunc.log_model(
            name=_MODEL,
            loader_module=LOADER,
            data_path=str(folder),
            signature=_signature(scorer),
            input_example=values.example(forest),
            pip_requirements=values.requirements(),
            metadata={"control": forest.control, "treatments": list(forest.treatments), **identity},
            tags=dict(identity),
        )
    return str(info.model_uri)


def ml_metadata(model: UpliftForestModel) -> dict[str, Any]:
    """Return what pyspark.ml writes about a model, so that `UpliftForestModel.load` reads the same folder."""
    import time

    import pyspark

    kind = type(model)
    return {
        "class": f"{kind.__module__}.{kind.__name__}",
        "timestamp": round(time.time() * 1000),
        "sparkVersion": pyspark.__version__,
        "uid": model.uid,
        "paramMap": {param.name: value for param, value in model._paramMap.items()},
        "defaultParamMap": {param.name: value for param, value in model._defaultParamMap.items()},
    }


def _signature(scorer: serving.UpliftScorer) -> Any:
    """Return the schema of rows and scores.

    Numbers are declared double whatever they were in training, because an integer column with a missing
    value is one in pandas. MLflow takes JSON integers and int32 for it; int64 (a long column) has to be
    cast when it holds more than 0 and 1.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    kinds = [DataType.string if bins.categorical else DataType.double for bins in scorer.forest.features]
    inputs: list[Any] = [
        ColSpec(kind, bins.name) for kind, bins in zip(kinds, scorer.forest.features, strict=True)
    ]
    outputs: list[Any] = [ColSpec(Array(DataType.double), name) for name in scorer.columns[:-1]]
    return ModelSignature(Schema(inputs), Schema([*outputs, ColSpec(DataType.string, scorer.recommended)]))


def _log_metrics(
    mlflow: Any, metrics: Mapping[str, float | None], logged: Mapping[str, float], model_uri: str
) -> None:
    """Log metrics with the run and its model, but for those that are there already."""
    finite = {
        key: float(value) for key, value in metrics.items() if value is not None and math.isfinite(value)
    }
    left_out = sorted(set(metrics) - set(finite))
    if left_out:
        _LOG.info("metrics without a finite value are not logged: %s", ", ".join(left_out))
    named = dict(zip(values.keys(finite), finite.values(), strict=True))
    new = {key: value for key, value in named.items() if logged.get(key) != value}
    if new:
        mlflow.log_metrics(new, model_id=model_uri.removeprefix("models:/"))


def _register(mlflow: Any, client: Any, name: str, uri: str, run: str, identity: Mapping[str, str]) -> str:
    """Return the registered version of this very forest; it is made when absent."""
    for version in client.search_model_versions(f'name="{name}"'):
        # Unity Catalog does not return tags here; there the run tells.
        same = version.tags.get(DIGEST) == identity[DIGEST] or (not version.tags and version.run_id == run)
        if same and version.status == "READY":
            return str(version.version)
    return str(mlflow.register_model(uri, name, tags=dict(identity)).version)


@contextmanager
def _files(uri: str, tracking: str | None) -> Iterator[Path]:
    """Give the local folder of a model's files."""
    with _store(tracking) as (mlflow, _), tempfile.TemporaryDirectory() as temporary:
        try:
            root = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=temporary))
            flavor = mlflow.models.Model.load(str(root)).flavors.get("python_function", {})
        except (mlflow.MlflowException, OSError) as error:
            reason = getattr(error, "message", error)
            raise ModelError(
                f"The model {uri} must be at {mlflow.get_tracking_uri()}. Got: {reason}"
            ) from error
        if flavor.get("loader_module") != LOADER:
            raise ModelError(
                f"The model {uri} must be one that spark_uplift has logged. Got one with the loader "
                f"{flavor.get('loader_module')!r} instead."
            )
        yield root / str(flavor["data"])
