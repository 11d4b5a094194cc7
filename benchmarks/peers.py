"""The peers, each with settings as near to ours as it has. Run by the peers' interpreter.

Every peer gets the rows in memory before its clock starts, in the form it likes best; only the fit is timed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import data
from benchmarks.contender import Stopwatch, phase, quality
from benchmarks.settings import FEATURES, Settings

Array = npt.NDArray[Any]


def _rows(settings: Settings) -> tuple[dict[str, Array], dict[str, Array]]:
    folder = f"{settings.work}/data"
    return (
        data.read(data.files(settings.rows, folder, settings.seed)),
        data.read(data.held_out_files(settings.test_rows, folder, settings.seed)),
    )


def _result(
    name: str, seconds: float, predicted: Any, truth: Array, settings: str, **more: Any
) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "version": f"{name} {version(name)}",
        "seconds": [seconds],
        **quality(predicted, truth),
        "settings": settings,
        **more,
    }


def _ydf_columns(rows: dict[str, Array], train: bool) -> dict[str, Array]:
    columns: dict[str, Array] = {name: rows["x"][:, j].astype(np.float32) for j, name in enumerate(FEATURES)}
    return {**columns, "arm": rows["treated"], "y": rows["y"]} if train else columns


def _ydf_train(settings: Settings, rows: dict[str, Array], candidates: int) -> tuple[Any, float]:
    import ydf

    learner = ydf.RandomForestLearner(
        label="y",
        task=ydf.Task.CATEGORICAL_UPLIFT,
        uplift_treatment="arm",
        uplift_split_score="EUCLIDEAN_DISTANCE",
        uplift_min_examples_in_treatment=settings.min_arm,
        num_trees=settings.trees,
        max_depth=settings.depth + 1,  # YDF counts the root as a level
        min_examples=settings.min_node,
        num_candidate_attributes=candidates,
        compute_oob_performances=False,
        random_seed=settings.seed,
        num_threads=settings.threads,
    )
    columns = _ydf_columns(rows, train=True)
    with phase("fit"), Stopwatch() as watch:
        model = learner.train(columns, verbose=0)
    return model, watch.seconds


def _ydf_sign(model: Any) -> float:
    """Return -1 when YDF took the treatment for the control.

    It numbers arms by frequency and calls the first the control, so a treatment with more rows than the control
    has the sign of its effect turned round.
    """
    arm = next(column for column in model.data_spec().columns if column.name == "arm")
    index = {name: item.index for name, item in arm.categorical.items.items()}
    return 1.0 if index["1"] > index["0"] else -1.0


def _ydf_leaves(model: Any) -> float:
    def count(node: Any) -> int:
        return 1 if node.is_leaf else count(node.neg_child) + count(node.pos_child)

    return float(np.mean([count(model.get_tree(i).root) for i in range(min(5, model.num_trees()))]))


def ydf_fit(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Fit YDF's uplift random forest, with all features at every node or with its default subset."""
    train, test = _rows(settings)
    default = job["contender"] == "ydf-sqrt"
    model, seconds = _ydf_train(settings, train, 0 if default else -1)
    predicted = _ydf_sign(model) * np.asarray(model.predict(_ydf_columns(test, train=False)))
    return _result(
        "ydf", seconds, predicted, test["tau"],
        f"CATEGORICAL_UPLIFT, EUCLIDEAN_DISTANCE, exact splits (its binned columns do not go with uplift), "
        f"{'default subset of features' if default else 'all features'}, no out-of-bag evaluation",
        leaves=_ydf_leaves(model),
    )  # fmt: skip


def _ydf_forest(settings: Settings, rows: dict[str, Array], trees: list[Any]) -> Any:
    """Return a YDF model that holds the given trees in place of its own."""
    from dataclasses import replace

    from ydf import tree as parts
    from ydf.model.tree import value

    @value.set_proto_node.register(parts.UpliftValue)
    def write(item: Any, node: Any) -> None:
        # YDF's own writer leaves out two lists that its check of a model asks for; nothing reads what is in them.
        node.uplift.treatment_effect[:] = item.treatment_effect
        node.uplift.sum_weights = item.num_examples
        node.uplift.sum_weights_per_treatment[:] = [1.0, 1.0]
        node.uplift.sum_weights_per_treatment_and_outcome[:] = [1.0, 1.0]

    few = {key: values[:5000] for key, values in rows.items()}
    model, _ = _ydf_train(replace(settings, trees=len(trees), depth=1), few, -1)
    index = dict(zip(model.input_feature_names(), model.input_features_col_idxs(), strict=True))

    def node(item: Any) -> Any:
        if not isinstance(item, list):
            return parts.Leaf(value=parts.UpliftValue(num_examples=1, treatment_effect=[item]))
        feature, cut, left, right = item
        lowest = np.float32(-3e38) if cut is None else np.nextafter(np.float32(cut), np.float32(np.inf))
        condition = parts.NumericalHigherThanCondition(
            missing=False, score=0.0, attribute=index[FEATURES[feature]], threshold=float(lowest)
        )
        return parts.NonLeaf(condition=condition, pos_child=node(right), neg_child=node(left))

    for i, item in enumerate(trees):
        model.set_tree(i, parts.Tree(root=node(item)))
    return model


def ydf_predict(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Time YDF's predictions on rows in memory, with the trees of our forest."""
    forest = json.loads(Path(job["forest"]).read_text())
    rows = data.read(data.files(job["predict_rows"], f"{settings.work}/data", settings.seed))
    model = _ydf_forest(settings, rows, forest["trees"])
    columns = _ydf_columns(rows, train=False)
    seconds = []
    for _ in range(1 + settings.repeats):
        with phase("predict"), Stopwatch() as watch:
            predicted = model.predict(columns, num_threads=settings.threads)
        seconds.append(watch.seconds)
    expected = np.array(forest["effects"])
    # YDF holds features as 32-bit floats: a value may fall on the other side of a cut.
    same = float(np.mean(np.isclose(predicted[: len(expected)], expected, rtol=1e-3, atol=1e-6)))
    if same < 0.99:
        raise RuntimeError(f"YDF must predict what our forest does. Got {same:.0%} of the rows the same.")
    return {
        "version": _version("ydf"),
        "rows": job["predict_rows"],
        "seconds": seconds[1:],
        "leaves": _ydf_leaves(model),
        "same": same,
        "settings": "predict on float32 columns in memory, with our trees",
    }


def _version(name: str) -> str:
    from importlib.metadata import version

    return f"{name} {version(name)}"


def h2o_fit(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Fit H2O's UpliftDRF. The features are numeric: nothing needs one-hot columns."""
    import h2o
    import pandas as pd
    from h2o.estimators import H2OUpliftRandomForestEstimator

    train, test = _rows(settings)
    h2o.init(
        nthreads=settings.threads,
        max_mem_size=job.get("h2o_memory", "6g"),
        log_level="FATA",
        bind_to_localhost=True,
    )
    h2o.no_progress()
    try:

        def frame(rows: dict[str, Array], named: bool) -> Any:
            columns = pd.DataFrame(rows["x"], columns=FEATURES)
            if not named:
                return h2o.H2OFrame(columns)
            made = h2o.H2OFrame(
                columns.assign(arm=np.where(rows["treated"] == 1, "treatment", "control"), y=rows["y"])
            )
            made["arm"], made["y"] = made["arm"].asfactor(), made["y"].asfactor()
            return made

        rows = frame(train, named=True)
        model = H2OUpliftRandomForestEstimator(
            treatment_column="arm",
            uplift_metric=job.get("h2o_metric", "AUTO"),
            ntrees=settings.trees,
            max_depth=settings.depth,
            nbins=settings.bins,
            nbins_top_level=settings.bins,
            min_rows=settings.min_node,
            mtries=-2,  # all features
            score_each_iteration=False,
            score_tree_interval=0,
            seed=settings.seed,
        )
        with phase("fit"), Stopwatch() as watch:
            model.train(x=FEATURES, y="y", training_frame=rows)
        predicted = model.predict(frame(test, named=False))["uplift_predict"].as_data_frame().to_numpy()
        summary = model._model_json["output"]["model_summary"].as_data_frame()
        return _result(
            "h2o", watch.seconds, predicted, test["tau"],
            f"UpliftDRF, uplift_metric={model.actual_params['uplift_metric']}, nbins {settings.bins}, "
            "all features, sample_rate 0.632",
            leaves=float(summary["mean_leaves"].iloc[0]),
        )  # fmt: skip
    finally:
        h2o.cluster().shutdown()


def lightgbm_fit(settings: Settings, _: dict[str, Any]) -> dict[str, Any]:
    """Fit a T-learner: one boosted classifier an arm, ``trees`` rounds each; the effect is the difference."""
    import lightgbm as lgb

    train, test = _rows(settings)
    parameters = {
        "objective": "binary",
        "max_depth": settings.depth,
        "max_bin": settings.bins,
        "min_data_in_leaf": settings.min_node,
        "num_threads": settings.threads,
        "seed": settings.seed,
        "verbose": -1,
    }
    parts = [(train["x"][train["treated"] == a], train["y"][train["treated"] == a]) for a in (0, 1)]
    with phase("fit"), Stopwatch() as watch:
        models = [lgb.train(parameters, lgb.Dataset(x, y), settings.trees) for x, y in parts]
    control, treated = (np.asarray(model.predict(test["x"])) for model in models)
    return _result(
        "lightgbm", watch.seconds, treated - control, test["tau"],
        f"T-learner, one model an arm, 31 leaves and learning rate 0.1 (defaults), max_bin {settings.bins}",
        leaves=float(np.mean([tree["num_leaves"] for m in models for tree in m.dump_model()["tree_info"]])),
    )  # fmt: skip


def causalml_fit(settings: Settings, _: dict[str, Any]) -> dict[str, Any]:
    """Fit CausalML's uplift random forest."""
    from causalml.inference.tree import UpliftRandomForestClassifier

    train, test = _rows(settings)
    arms = np.where(train["treated"] == 1, "treatment", "control")
    model = UpliftRandomForestClassifier(
        control_name="control",
        evaluationFunction="ED",
        n_estimators=settings.trees,
        max_depth=settings.depth,
        max_features=len(FEATURES),
        min_samples_leaf=settings.min_node,
        min_samples_treatment=settings.min_arm,
        n_jobs=settings.threads,
        random_state=settings.seed,
    )
    with phase("fit"), Stopwatch() as watch:
        model.fit(train["x"], arms, train["y"])
    return _result(
        "causalml", watch.seconds, model.predict(test["x"]), test["tau"],
        "UpliftRandomForestClassifier, ED, exact splits, all features, other settings as they come",
    )  # fmt: skip


def econml_fit(settings: Settings, _: dict[str, Any]) -> dict[str, Any]:
    """Fit EconML's causal forest on the raw treatment, which an experiment allows."""
    from econml.grf import CausalForest

    train, test = _rows(settings)
    model = CausalForest(
        n_estimators=-(-settings.trees // 4) * 4,  # it wants a multiple of its little bags of four
        max_depth=settings.depth,
        min_samples_leaf=settings.min_node,
        max_features=None,
        n_jobs=settings.threads,
        random_state=settings.seed,
    )
    with phase("fit"), Stopwatch() as watch:
        model.fit(train["x"], train["treated"], train["y"].astype(np.float64))
    return _result(
        "econml", watch.seconds, model.predict(test["x"]), test["tau"],
        "grf.CausalForest, exact splits, all features; by default honest and on 45 % of the rows: less work",
    )  # fmt: skip
