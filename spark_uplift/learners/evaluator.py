"""`UpliftEvaluator`: one uplift metric for pyspark.ml's CrossValidator and TrainValidationSplit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark import keyword_only
from pyspark.ml.evaluation import Evaluator
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable

from spark_uplift.errors import ConfigError, bad_value
from spark_uplift.metrics.registry import Metric, find
from spark_uplift.spark.evaluate import evaluate_metric
from spark_uplift.spark.evaluate_input import ScoredColumns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["UpliftEvaluator"]

_NEEDED = ("treatmentCol", "controlName", "labelCol")


def _param(name: str, doc: str, converter: Any) -> Any:
    return Param(Params._dummy(), name, doc, converter)


class UpliftEvaluator(Evaluator, DefaultParamsReadable, DefaultParamsWritable):  # type: ignore[type-arg]
    """Evaluate predicted uplift by one metric, without intervals.

    Parameters
    ----------
    metricName : str
        E.g. ``"autoc"``, ``"qini"``, ``"auuc"``, ``"uplift_at_30"``.
    style : str
        Whose definition: ``grf sklift causalml h2o ydf perpetual upliftml``.
    treatmentCol, controlName, labelCol : str
        Column of the arm, its value that is control, column of the outcome.
    scoreCol : str
        Predicted effect of each treatment, ``array<double>``; a number will do for one treatment.
    arm : str, optional
        The treatment to evaluate. Without it and with several treatments, the policy "each unit its best arm"
        is evaluated, as arm ``"*"`` of `evaluate`.
    treatmentNames : list of str, optional
        Treatments in the order of the scores; by default the arms in the data other than control, sorted.
    weightCol, propensityCol : str, optional
        Weights; logged probability of the arm that the row got.

    Examples
    --------
    >>> import spark_uplift as su
    >>> evaluator = su.UpliftEvaluator(treatmentCol="arm", controlName="none", labelCol="visit")
    >>> evaluator.isLargerBetter()
    True
    """

    metricName = _param("metricName", "Name of the metric, e.g. autoc, qini, auuc.", TypeConverters.toString)
    style = _param(
        "style",
        "Whose definition: grf, sklift, causalml, h2o, ydf, perpetual or upliftml.",
        TypeConverters.toString,
    )
    treatmentCol = _param("treatmentCol", "Column of the assigned arm.", TypeConverters.toString)
    controlName = _param("controlName", "Value of treatmentCol that is control.", TypeConverters.toString)
    labelCol = _param("labelCol", "Column of the outcome: a number, or a boolean.", TypeConverters.toString)
    scoreCol = _param("scoreCol", "Column of the predicted effects.", TypeConverters.toString)
    arm = _param(
        "arm", "Treatment to evaluate. Not set: the only one, or the policy.", TypeConverters.toString
    )
    treatmentNames = _param(
        "treatmentNames", "Treatments in the order of the scores.", TypeConverters.toListString
    )
    weightCol = _param(
        "weightCol", "Column of row weights, 0 or more. Not set: all 1.", TypeConverters.toString
    )
    propensityCol = _param(
        "propensityCol", "Column of the logged probability, in (0, 1], of the arm.", TypeConverters.toString
    )

    @keyword_only
    def __init__(
        self,
        *,
        metricName: str = "autoc",
        style: str = "grf",
        treatmentCol: str | None = None,
        controlName: str | None = None,
        labelCol: str | None = None,
        scoreCol: str = "uplift",
        arm: str | None = None,
        treatmentNames: list[str] | None = None,
        weightCol: str | None = None,
        propensityCol: str | None = None,
    ) -> None:
        super().__init__()
        self._setDefault(metricName="autoc", style="grf", scoreCol="uplift")
        self._assign(self._input_kwargs)  # type: ignore[attr-defined]  # set by keyword_only

    def setParams(self, **values: Any) -> UpliftEvaluator:
        """Set parameters by name.

        Raises
        ------
        ConfigError
            For a name that does not exist, or a value of the wrong type.
        """
        unknown = [name for name in values if not self.hasParam(name)]
        if unknown:
            known = sorted(p.name for p in self.params)
            raise ConfigError(
                [bad_value("name", "UpliftEvaluator", f"one of {known}", name) for name in unknown]
            )
        self._assign(values)
        return self

    def _assign(self, given: dict[str, Any]) -> None:
        try:
            self._set(**{name: value for name, value in given.items() if value is not None})
        except TypeError as error:
            raise ConfigError(f"UpliftEvaluator: {error}") from error

    def _value(self, name: str) -> Any:
        param = self.getParam(name)
        return self.getOrDefault(param) if self.isDefined(param) else None

    def _metric(self) -> Metric:
        return find(self._value("metricName"), self._value("style"))

    def isLargerBetter(self) -> bool:
        """Tell whether a better ranking has the larger value.

        Raises
        ------
        ConfigError
            The metric is neither larger nor smaller for a better model, like a calibration slope.
        """
        metric = self._metric()
        if metric.larger_is_better is None:
            hint = "choose autoc, qini or calibration_r2."
            raise ConfigError(
                bad_value("metricName", "UpliftEvaluator", "larger for a better model", metric.name, hint)
            )
        return metric.larger_is_better

    def _evaluate(self, dataset: DataFrame) -> float:
        missing = [name for name in _NEEDED if not self._value(name)]
        if missing:
            raise ConfigError([bad_value(name, "UpliftEvaluator", "set", None) for name in missing])
        names = self._value("treatmentNames")
        columns = ScoredColumns(
            treatment=self._value("treatmentCol"),
            control=self._value("controlName"),
            label=self._value("labelCol"),
            score=self._value("scoreCol"),
            arm=self._value("arm"),
            treatments=None if names is None else tuple(names),
            weight=self._value("weightCol"),
            propensity=self._value("propensityCol"),
        )
        return evaluate_metric(dataset, columns, self._metric())


# Saved parameters name the public path, so that they load after the file has moved.
UpliftEvaluator.__module__ = "spark_uplift"
