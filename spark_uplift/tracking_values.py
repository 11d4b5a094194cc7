"""What MLflow is given: addresses, names, values as text, an input example, requirements."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_uplift import __version__
from spark_uplift.config import MlflowConfig
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.forest import Forest
from spark_uplift.errors import ConfigError, TableError, bad_value
from spark_uplift.spark.versions import local_path

if TYPE_CHECKING:
    import pandas as pd

KEY_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 5000
"""Characters that MLflow keeps of a key, a param's value and a tag's value."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVING = ("numpy", "pandas", "pyarrow", "numba")
_EXAMPLE_ROWS = 3


def uri_of(settings: MlflowConfig, warehouse: str | Path) -> str:
    """Return the configured tracking URI, or that of ``mlflow.db`` in a warehouse on this machine.

    Raises
    ------
    ConfigError
        When there is no default: the warehouse is elsewhere, or has a character that database URIs can't
        hold.
    """
    if settings.tracking_uri is not None:
        return settings.tracking_uri
    folder = local_path(str(warehouse))
    if folder is None or re.search(r"[%?]", str(folder)):
        expected = "given when the warehouse is not a folder of this machine, or has '%' or '?' in its path"
        raise ConfigError(
            bad_value(
                "mlflow.tracking_uri", "the configuration", expected, None, f"the warehouse is {warehouse}."
            )
        )
    return f"sqlite:///{folder.expanduser().resolve()}/mlflow.db"


def artifact_location(uri: str, warehouse: str | Path) -> str | None:
    """Return where a new experiment keeps its files, or None where the tracking server has a place.

    Databases know nothing of files, and MLflow would put them into the working directory.
    """
    folder = local_path(str(warehouse))
    if folder is None or re.split(r"[:+]", uri)[0] not in _DATABASES:
        return None
    return (folder.expanduser().resolve() / "mlartifacts").as_uri()


def make_folder(uri: str | None) -> None:
    """Make the folder of a database file.

    Raises
    ------
    TableError
        When it can't be written.
    """
    if uri is None or not uri.startswith("sqlite:////"):
        return
    folder = Path(uri.removeprefix("sqlite:///")).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise TableError(
            f"The folder {folder} can't be written: {error.strerror}. Hint: choose another folder with "
            "--set warehouse=FOLDER, or another mlflow.tracking_uri."
        ) from error


def check_names(name: str, alias: str) -> None:
    """Check the names that MLflow's registry would refuse, before anything is logged.

    Raises
    ------
    ConfigError
        With both faults.
    """
    faults = []
    if not name.strip() or re.search(r'[/:"]', name):
        expected = "a name without '/', ':' and '\"'"
        faults.append(bad_value("mlflow.model_name", "the configuration", expected, name))
    if not re.fullmatch(r"[\w-]{1,255}", alias) or re.fullmatch(r"(?i)latest|v\d+", alias):
        expected = "letters, digits, '_' or '-', not 'latest' and not 'v' with a number"
        faults.append(bad_value("mlflow.alias", "the configuration", expected, alias))
    if faults:
        raise ConfigError(faults)


def keys(names: Iterable[str]) -> list[str]:
    """Return a key for each name, all different, of characters that MLflow takes.

    Other characters become ``_``. A hash is added where that makes two names alike, or cuts one short.

    Examples
    --------
    >>> keys(["qini.25 %", "auuc"])
    ['qini.25 _', 'auuc']
    """
    found: list[str] = []
    for name in names:
        key = re.sub(r"[^/\w.\- :]", "_", name)
        if posixpath.normpath(key) != key or key.startswith((".", "/")):
            key = re.sub(r"^\.", "_", key.replace("/", "_")) or "_"
        if key in found or len(key) > KEY_LENGTH:
            key = f"{key[: KEY_LENGTH - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        found.append(key)
    return found


def strings(values: Mapping[str, Any], length: int) -> dict[str, str]:
    """Return nested values as text by key: text as it is, the rest as JSON; long values end in an ellipsis.

    Examples
    --------
    >>> strings({"forest": {"numTrees": 20, "features": ["a"]}, "name": "x"}, 100)
    {'forest.numTrees': '20', 'forest.features': '["a"]', 'name': 'x'}
    """
    flat = dict(_flat(values))
    shown = (
        v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str) for v in flat.values()
    )
    cut = (value if len(value) <= length else value[: length - 1] + "…" for value in shown)
    return dict(zip(keys(flat), cut, strict=True))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def requirements() -> list[str]:
    """Return what a server must install to score: this package and, at the versions here, what it imports.

    This package has to be on an index that the server's pip looks at, or be installed there already.
    """
    return [f"spark_uplift=={__version__}", *(f"{name}=={metadata.version(name)}" for name in _SERVING)]


def example(forest: Forest) -> pd.DataFrame:
    """Return made-up rows, none of them a unit's: cut points and levels out of step with each other."""
    import pandas as pd

    columns = {
        bins.name: [_made_up(bins, row, j) for row in range(_EXAMPLE_ROWS)]
        for j, bins in enumerate(forest.features)
    }
    return pd.DataFrame(columns)


def _made_up(bins: FeatureBins, row: int, shift: int) -> float | str:
    if bins.levels is not None:
        return bins.levels[(row + shift) % len(bins.levels)] if bins.levels else "other"
    if not bins.edges:
        return 0.0
    return bins.edges[(1 + row + shift) * len(bins.edges) // (2 + _EXAMPLE_ROWS + shift)]
