"""Every exception of the package, and the sentence that bad values get.

::

    SparkUpliftError                exit 1
     ├─ ConfigError                 exit 2   the configuration is wrong; all faults at once
     ├─ DataError                   exit 2   a column or a value of the data is wrong
     │   └─ ColumnNotFoundError     exit 2   … because a column is missing
     ├─ CheckFailedError            exit 3   an experiment check failed
     ├─ TableError                  exit 1   a table that is not ours, or can't be written
     ├─ ModelError                  exit 1   a model file that is damaged, or of an unknown version
     └─ EnvironmentFaultError       exit 1   Java, Python or a dependency is missing or too old
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

__all__ = [
    "CheckFailedError",
    "ColumnNotFoundError",
    "ConfigError",
    "DataError",
    "EnvironmentFaultError",
    "ModelError",
    "SparkUpliftError",
    "TableError",
    "bad_value",
    "nearest",
]


class SparkUpliftError(Exception):
    """Base of all errors that the package raises on purpose."""

    exit_code: ClassVar[int] = 1


class _FaultsError(SparkUpliftError):
    """An error that reports several faults together.

    Parameters
    ----------
    faults : str or sequence of str
        One complete sentence each.
    """

    title: ClassVar[str] = "faults"

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: list[str] = [faults] if isinstance(faults, str) else list(faults)
        super().__init__(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would rebuild from the message and lose the list; Spark pickles exceptions.
        return type(self), (self.faults,)

    def _message(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        return "\n".join([f"{len(self.faults)} {self.title}:", *(f"  - {fault}" for fault in self.faults)])


class ConfigError(_FaultsError):
    """The configuration is wrong; ``faults`` lists everything that is."""

    exit_code = 2
    title = "faults in the configuration"


class DataError(_FaultsError):
    """The data can't be used; ``faults`` names the columns and values."""

    exit_code = 2
    title = "faults in the data"


class ColumnNotFoundError(DataError):
    """Columns that were asked for are not there."""

    @classmethod
    def of(cls, missing: Iterable[str], available: Iterable[str]) -> ColumnNotFoundError:
        """Build the message from the facts.

        Parameters
        ----------
        missing : iterable of str
            Names that were asked for.
        available : iterable of str
            Names that the data has.
        """
        names, present = list(missing), list(available)
        hints = [f"'{near}' for '{name}'" for name in names if (near := nearest(name, present))]
        hint = f" Hint: did you mean {', '.join(hints)}?" if hints else ""
        return cls(f"The following columns were not found: {names}. Available columns: {present}.{hint}")


class CheckFailedError(SparkUpliftError):
    """Checks of the experiment failed.

    Parameters
    ----------
    message : str
        What failed, with the numbers.
    results : sequence
        The check results, in the form in which the checks returned them.
    """

    exit_code = 3

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results: list[Any] = list(results)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.results)


class TableError(SparkUpliftError):
    """A table is not ours, has another schema version, or can't be read or written."""


class ModelError(SparkUpliftError):
    """A saved model is damaged, altered, or of a format version that this release can't read."""


class EnvironmentFaultError(SparkUpliftError):
    """The machine lacks something that the package needs; the message has the install command."""


def bad_value(param: str, owner: str, expected: str, got: object, hint: str | None = None) -> str:
    """Return the sentence for a bad value.

    Parameters
    ----------
    param : str
        Name of the parameter.
    owner : str
        What the parameter belongs to, e.g. ``"UpliftForest"``.
    expected : str
        Completes "must be …", e.g. ``"an int in the range [2, 254]"``.
    got : object
        The value, shown by ``repr``.
    hint : str, optional
        The way out.

    Examples
    --------
    >>> bad_value("maxBins", "UpliftForest", "an int in the range [2, 254]", 300)
    "The 'maxBins' parameter of UpliftForest must be an int in the range [2, 254]. Got 300 instead."
    """
    sentence = f"The {param!r} parameter of {owner} must be {expected}. Got {got!r} instead."
    return f"{sentence} Hint: {hint}" if hint else sentence


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `name`, ignoring case, or None when none is near.

    Examples
    --------
    >>> nearest("numTree", ["numTrees", "maxDepth"])
    'numTrees'
    """
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
