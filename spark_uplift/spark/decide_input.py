"""What `decide` is told: checked, all faults at once, and put into the form that the passes and the SQL rule take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.errors import ColumnNotFoundError, DataError, bad_value, nearest
from spark_uplift.policy.allocation import BUDGET, CAPACITY, Constraint

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_OWNER = "decide"
_MOST_ARMS = 31
_MOST_SEGMENTS = 1 << 16
Rules = Mapping[str, str | Sequence[str]] | str | Sequence[str] | None


@dataclass(frozen=True)
class Request:
    """Checked arguments of `decide`.

    Attributes
    ----------
    treatments : tuple of str
        In the order of the scores.
    control : str
    id, score : str
        Columns.
    value : float
        Of one unit of the outcome [money].
    costs : tuple of float
        Of each treatment; NaN for those with a column.
    cost_columns : tuple of (str or None)
    constraints : tuple of Constraint
    segment : str or None
        Column.
    segments : tuple of str
        Values that constraints name; their codes are 1, 2, …; 0 is any other.
    exclusions : tuple of tuple of str
        SQL expressions for each treatment.
    least : float
        Net value under which nobody is contacted; a float32.
    explore : float
    ends : tuple of str, or None
        Columns of the lower and upper ends of the scores' intervals.
    seed : int
    """

    treatments: tuple[str, ...]
    control: str
    id: str
    score: str
    value: float
    costs: tuple[float, ...]
    cost_columns: tuple[str | None, ...]
    constraints: tuple[Constraint, ...]
    segment: str | None
    segments: tuple[str, ...]
    exclusions: tuple[tuple[str, ...], ...]
    least: float
    explore: float
    ends: tuple[str, str] | None
    seed: int

    @property
    def own_costs(self) -> bool:
        """Whether units have costs of their own."""
        return any(self.cost_columns)


def checked(scored: DataFrame, arguments: Mapping[str, Any]) -> Request:
    """Check the arguments of `decide` against the columns.

    Raises
    ------
    ColumnNotFoundError
        When columns are missing and nothing else is wrong.
    DataError
        With every fault.
    """
    check = _Check(tuple(map(str, arguments["treatmentNames"])), str(arguments["controlName"]))
    given = {name: arguments[name] for name in ("value", "minimumGain", "explore")}
    value = check.number("value", given["value"], "a number above 0", lambda v: v > 0)
    least = check.number("minimumGain", given["minimumGain"], "a number of at least 0", lambda v: v >= 0)
    explore = check.number("explore", given["explore"], "a share in the range [0, 1)", lambda v: 0 <= v < 1)
    costs, cost_columns = check.costs(arguments["costs"], arguments["costCols"])
    segments: dict[str, int] = {}
    constraints = check.constraints(
        arguments["budgets"], arguments["capacities"], arguments["segmentCol"], segments
    )
    ends = (arguments["lowerCol"], arguments["upperCol"])
    if (ends[0] is None) != (ends[1] is None):
        check.faults.append(bad_value("lowerCol", _OWNER, "given together with upperCol", ends))
    request = Request(
        treatments=check.treatments,
        control=check.control,
        id=arguments["idCol"],
        score=arguments["scoreCol"],
        value=value,
        costs=costs,
        cost_columns=cost_columns,
        constraints=constraints,
        segment=arguments["segmentCol"],
        segments=tuple(segments),
        exclusions=check.exclusions(arguments["exclusions"]),
        least=float(np.float32(least)),
        explore=explore,
        ends=None if None in ends else ends,
        seed=arguments["seed"],
    )
    missing = _missing(scored, request)
    texts = dict.fromkeys(text for rules in request.exclusions for text in rules)
    check.faults += expression_faults(scored, list(texts))
    check.types(scored, request)
    if missing and not check.faults:
        raise ColumnNotFoundError.of(missing, scored.columns)
    if missing or check.faults:
        told = [str(ColumnNotFoundError.of(missing, scored.columns))] if missing else []
        raise DataError([*told, *check.faults])
    return request


def expression_faults(df: DataFrame, texts: Sequence[str]) -> list[str]:
    """Return a sentence for each exclusion that Spark does not understand, or that is not boolean."""
    from pyspark.sql import functions as F

    found = []
    for text in texts:
        try:
            kind = df.select(F.expr(text)).schema[0].dataType.typeName()
        except Exception as error:  # analysis errors differ between classic Spark and Connect
            kind = str(error).splitlines()[0][:200]
        if kind not in ("boolean", "void"):
            expected = f"boolean SQL expressions of the columns, but this gives {kind}"
            found.append(bad_value("exclusions", _OWNER, expected, text))
    return found


def _missing(scored: DataFrame, request: Request) -> list[str]:
    wanted = [request.id, request.score, request.segment, *request.cost_columns, *(request.ends or ())]
    return [name for name in dict.fromkeys(wanted) if name is not None and name not in scored.columns]


class _Check:
    """Collects faults."""

    def __init__(self, treatments: tuple[str, ...], control: str) -> None:
        self.treatments, self.control = treatments, control
        self.faults: list[str] = []
        twice = len(set(treatments)) < len(treatments)
        if not treatments or len(treatments) > _MOST_ARMS or twice or control in treatments:
            expected = f"1 to {_MOST_ARMS} different treatments without the control {control!r}"
            self.faults.append(bad_value("treatmentNames", _OWNER, expected, list(treatments)))

    def number(self, name: str, value: Any, expected: str, fits: Any) -> float:
        """Return a number, or 0 after telling a fault."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            fine = False
        else:
            fine = bool(fits(value))
        if not fine:
            self.faults.append(bad_value(name, _OWNER, expected, value))
        return float(value) if fine else 0.0

    def arms(self, where: str, names: Any) -> tuple[int, ...]:
        """Return the codes of treatments; tell those that are none."""
        listed = [names] if isinstance(names, str) else list(names)
        unknown = [str(name) for name in listed if str(name) not in self.treatments]
        for name in unknown:
            near = nearest(name, self.treatments)
            hint = f"did you mean {near!r}?" if near else "the model has no score for it."
            what = "the control needs no limit and costs nothing" if name == self.control else hint
            self.faults.append(
                bad_value(where, _OWNER, f"among the treatments {list(self.treatments)}", name, what)
            )
        return tuple(sorted({self.treatments.index(str(n)) for n in listed if str(n) in self.treatments}))

    def costs(self, costs: Any, columns: Any) -> tuple[tuple[float, ...], tuple[str | None, ...]]:
        """Return each treatment's cost and cost column."""
        costs, columns = dict(costs or {}), dict(columns or {})
        free = costs.get(self.control)
        if isinstance(free, (int, float)) and free == 0:
            costs.pop(self.control)
        self.arms("costs", costs)
        self.arms("costCols", columns)
        both = sorted(set(costs) & set(columns))
        if both:
            self.faults.append(bad_value("costCols", _OWNER, "of treatments that have no fixed cost", both))
        found = []
        for name in self.treatments:
            cost = costs.get(name, 0.0)
            where = f"costs[{name}]"
            found.append(self.number(where, cost, "a number of at least 0 [money]", lambda v: v >= 0))
        return tuple(found), tuple(columns.get(name) for name in self.treatments)

    def constraints(
        self, budgets: Any, capacities: Any, segment: str | None, segments: dict[str, int]
    ) -> tuple[Constraint, ...]:
        """Return the constraints; number the segments that they name in ``segments``, OUT."""
        found: list[Constraint] = []
        for i, entry in enumerate(budgets or ()):
            if not self._keys(f"budgets[{i}]", entry, ("name", "limit", "arms")):
                continue
            name = str(entry.get("name") or ("budget" if len(budgets) == 1 else f"budget {i + 1}"))
            limit = self._limit(name, entry["limit"])
            arms = self.treatments if entry.get("arms") is None else entry["arms"]
            found.append(Constraint(name, BUDGET, limit, self.arms(f"budgets[{i}].arms", arms)))
        for i, entry in enumerate(capacities or ()):
            if not self._keys(f"capacities[{i}]", entry, ("name", "limit", "arm", "arms", "segment")):
                continue
            arms = entry.get("arms") if entry.get("arm") is None else entry["arm"]
            arms = self.treatments if arms is None else [arms] if isinstance(arms, str) else list(arms)
            of = entry.get("segment")
            listed = [] if of is None else [of] if isinstance(of, str) else [str(s) for s in of]
            if listed and segment is None:
                self.faults.append(
                    bad_value(f"capacities[{i}].segment", _OWNER, "given together with segmentCol", of)
                )
            for name in listed:
                segments.setdefault(name, len(segments) + 1)
            what = "any treatment" if tuple(arms) == self.treatments else " + ".join(map(str, arms))
            name = str(
                entry.get("name") or f"capacity of {what}" + (f" in {' + '.join(listed)}" if listed else "")
            )
            limit = self._limit(name, entry["limit"])
            codes = tuple(segments[s] for s in listed) or None
            found.append(Constraint(name, CAPACITY, limit, self.arms(f"capacities[{i}].arms", arms), codes))
        names = [c.name for c in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            self.faults.append(
                f"Every budget and capacity must have a name of its own. Got {twice} twice instead."
            )
        if len(segments) >= _MOST_SEGMENTS:
            self.faults.append(
                f"Capacities must name fewer than {_MOST_SEGMENTS} segments. Got {len(segments)} instead."
            )
        return tuple(found)

    def _keys(self, where: str, entry: Any, known: Sequence[str]) -> bool:
        if not isinstance(entry, Mapping) or "limit" not in entry or not set(entry) <= set(known):
            expected = f"a mapping with 'limit' and no other key than {list(known)}"
            self.faults.append(bad_value(where, _OWNER, expected, entry))
            return False
        return True

    def _limit(self, name: str, limit: Any) -> float:
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0:
            low = not isinstance(limit, bool) and isinstance(limit, (int, float)) and limit < 0
            short = f": even no contact at all exceeds it by {-limit:g}" if low else ""
            self.faults.append(bad_value("limit", f"{name!r}", f"a number of at least 0{short}", limit))
            return 0.0
        return float(limit)

    def exclusions(self, rules: Rules) -> tuple[tuple[str, ...], ...]:
        """Return each treatment's SQL expressions."""
        if rules is None:
            rules = {}
        if not isinstance(rules, Mapping):
            rules = {"*": rules}
        listed = {arm: (text,) if isinstance(text, str) else tuple(text) for arm, text in rules.items()}
        self.arms("exclusions", [arm for arm in listed if arm != "*"])
        return tuple((*listed.get("*", ()), *listed.get(name, ())) for name in self.treatments)

    def types(self, scored: DataFrame, request: Request) -> None:
        """Tell columns of an unusable type."""
        kinds = {field.name: field.dataType for field in scored.schema.fields}
        for name in (request.score, *(request.ends or ())):
            if name not in kinds:
                continue
            text = kinds[name].simpleString()
            inner = text.removeprefix("array<").removesuffix(">")
            array = text.startswith("array<")
            if not inner.startswith(("double", "float", "decimal", "int", "bigint")) or (
                not array and len(request.treatments) > 1
            ):
                self.faults.append(
                    f"The column '{name}' must hold an array<double> with a number for each of "
                    f"{list(request.treatments)}. Got {text} instead."
                )
        for name in request.cost_columns:
            if name in kinds and not kinds[name].simpleString().startswith(
                ("double", "float", "decimal", "int", "bigint", "smallint", "tinyint")
            ):
                self.faults.append(
                    f"The cost column '{name}' must hold numbers [money]. Got {kinds[name].simpleString()} instead."
                )
