"""Real randomised experiments, ready to run.

``randhie`` comes with statsmodels. ``hillstrom`` is downloaded once from its public address, checked and
cached. The check is a digest of the rows themselves (see :func:`content_sha256`), not of the file's bytes:
so a CSV with other line ends or a Parquet copy passes, and a file in which one value differs does not.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from spark_uplift.errors import DataError, EnvironmentFaultError, bad_value, nearest

__all__ = ["DATASETS", "HILLSTROM_SHA256", "HILLSTROM_URL", "content_sha256", "hillstrom", "load", "randhie"]

HILLSTROM_URL: Final = (
    "http://www.minethatdata.com/"
    "Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv"
)
HILLSTROM_SHA256: Final = "9531f795428d7cf1f2138b93485fc1ab4c26b6762c43352bf1fc0839b52ed978"
"""`content_sha256` of the 64,000 rows."""

MAX_BYTES: Final = 64 * 2**20
"""The file has about 4 MB; whatever sends more than this is not it."""

_HILLSTROM_TYPES: Final = {
    "recency": "int64",
    "history_segment": "object",
    "history": "float64",
    "mens": "int64",
    "womens": "int64",
    "zip_code": "object",
    "newbie": "int64",
    "channel": "object",
    "segment": "object",
    "visit": "int64",
    "conversion": "int64",
    "spend": "float64",
}
_PLANS: Final = {0.0: "free", 3.258096: "25 %", 3.931826: "50 %", 4.564348: "95-100 %", 4.615120: "95-100 %"}


def load(name: str) -> pd.DataFrame:
    """Return a built-in dataset with its defaults.

    Raises
    ------
    DataError
        If there is none of that name, or it can't be had.
    """
    if name not in DATASETS:
        near = nearest(name, DATASETS)
        hint = f"did you mean {near!r}?" if near else None
        raise DataError(bad_value("dataset", "the experiment", f"one of {sorted(DATASETS)}", name, hint))
    return DATASETS[name]()


def randhie() -> pd.DataFrame:
    """Return the RAND Health Insurance Experiment, as it comes with statsmodels (public domain).

    Families were assigned to insurance plans that differ in the share of the cost that they pay
    themselves. The arm is read from ``lncoins`` = log(1 + that share in per cent).

    Returns
    -------
    DataFrame
        20,190 rows: ``unit_id`` (the row's number), ``plan`` (``free`` 10,997 rows, ``25 %`` 4,065, ``50
        %`` 1,401, ``95-100 %`` 3,727), the outcome ``mdvis`` (outpatient visits a year), the features
        ``physlm``, ``disea``, ``hlthg``, ``hlthf``, ``hlthp``, and ``idp``, ``lpi``, ``fmde``, which
        describe the plan itself.

    Raises
    ------
    EnvironmentFaultError
        If statsmodels is not installed.

    References
    ----------
    Newhouse (1993), Free for All? Lessons from the RAND Health Insurance Experiment.
    """
    try:
        from statsmodels.datasets import randhie as source
    except ImportError as error:
        raise EnvironmentFaultError(
            "The dataset 'randhie' comes with statsmodels, which is not installed. "
            "Hint: pip install 'spark_uplift[demo]'"
        ) from error
    raw = source.load_pandas().data
    plans = {round(coinsurance, 4): plan for coinsurance, plan in _PLANS.items()}
    frame = raw.drop(columns="lncoins")
    frame.insert(0, "unit_id", range(len(raw)))
    frame.insert(1, "plan", raw["lncoins"].round(4).map(plans))
    return frame


def hillstrom(
    path: str | Path | None = None,
    *,
    url: str = HILLSTROM_URL,
    sha256: str | None = HILLSTROM_SHA256,
    cache_dir: str | Path | None = None,
    timeout: float = 60.0,
) -> pd.DataFrame:
    """Return Kevin Hillstrom's e-mail experiment (MineThatData, 2008).

    Parameters
    ----------
    path : str or Path, optional
        A copy as Parquet or CSV, or a folder with ``hillstrom.parquet`` in it; without one the cache is
        read, and filled by a download when it has none.
    url : str
        Address of the CSV.
    sha256 : str or None
        Expected `content_sha256`; None skips the check.
    cache_dir : str or Path, optional
        Folder for the download; under the user's cache folder by default.
    timeout : float
        Limit for each wait on the network [seconds].

    Returns
    -------
    DataFrame
        64,000 rows: ``row_id``, ``segment`` (``Mens E-Mail``, ``Womens E-Mail``, ``No E-Mail``), the outcomes
        ``visit``, ``conversion`` (0/1) and ``spend`` ($), and what was known before.

    Raises
    ------
    DataError
        If the file can't be read or downloaded, is truncated, or has other content.
    """
    if path is not None:
        return _checked(_read(Path(path)), sha256, str(path))
    folder = Path(cache_dir) if cache_dir is not None else _cache_folder()
    cached = folder / f"hillstrom-{(sha256 or 'unchecked')[:12]}.csv"
    if cached.is_file():
        try:
            return _checked(_read(cached), sha256, str(cached))
        except DataError:
            cached.unlink()  # damaged since it was stored; fetch it again
    return _fetch(url, sha256, cached, timeout)


def content_sha256(frame: pd.DataFrame) -> str:
    """Return a digest of a frame's rows that does not depend on their order or on the file's format.

    Each row becomes a line: whole numbers in decimal, other numbers with two decimals, text as it is,
    joined by the unit separator (0x1f) in the order of the columns ``recency`` … ``spend``. The sorted
    lines, with the columns' names before them and joined by newlines, are hashed as UTF-8 by SHA-256.
    ``row_id`` is no part of it.

    Parameters
    ----------
    frame : DataFrame
        Rows with the columns of the Hillstrom file.
    """
    texts = []
    for name, kind in _HILLSTROM_TYPES.items():
        values = frame[name]
        texts.append(
            [f"{value:.2f}" for value in values] if kind == "float64" else [str(value) for value in values]
        )
    lines = sorted("\x1f".join(row) for row in zip(*texts, strict=True))
    return hashlib.sha256("\n".join(["\x1f".join(_HILLSTROM_TYPES), *lines]).encode()).hexdigest()


def _cache_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "spark_uplift" / "data"


def _download(url: str, timeout: float) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise DataError(bad_value("url", "hillstrom", "an http or https address", url))
    hint = "Hint: download it by hand and give its path."
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            announced = response.headers.get("Content-Length")
            body: bytes = response.read(MAX_BYTES + 1)
    except http.client.IncompleteRead as error:
        announced, body = str(len(error.partial) + (error.expected or 0)), error.partial
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"The dataset 'hillstrom' can't be downloaded from {url}: {reason}. {hint}"
        ) from error
    if len(body) > MAX_BYTES:
        raise DataError(
            f"The download from {url} has more than {MAX_BYTES} bytes and can't be 'hillstrom'. {hint}"
        )
    if announced is not None and len(body) != int(announced):
        raise DataError(
            f"The download from {url} is truncated: {len(body)} of {announced} bytes arrived. "
            "Hint: try again."
        )
    return body


def _fetch(url: str, sha256: str | None, cached: Path, timeout: float) -> pd.DataFrame:
    body = _download(url, timeout)
    partial = cached.with_name(f".{cached.name}.{os.getpid()}")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(body)
        try:
            frame = _checked(_read(partial, "csv"), sha256, url)
            partial.replace(cached)  # atomic: the cache never holds a file that was not checked
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"The dataset 'hillstrom' can't be stored in {cached.parent}: {error}. "
            "Hint: pass cache_dir, or path."
        ) from error
    return frame


def _read(path: Path, kind: str | None = None) -> pd.DataFrame:
    file = path / "hillstrom.parquet" if path.is_dir() else path
    kind = kind or ("parquet" if file.suffix == ".parquet" else "csv")
    try:
        frame = pd.read_parquet(file) if kind == "parquet" else pd.read_csv(file, skipinitialspace=True)
        missing = [name for name in _HILLSTROM_TYPES if name not in frame.columns]
        if missing:
            raise ValueError(f"the columns {missing} are missing")
        rows = frame[list(_HILLSTROM_TYPES)].astype(_HILLSTROM_TYPES)
    except (OSError, ValueError) as error:  # pandas' and pyarrow's parser errors derive from ValueError
        raise DataError(f"The dataset 'hillstrom' can't be read from {path}: {error}.") from error
    rows.insert(0, "row_id", range(len(rows)))
    return rows


def _checked(frame: pd.DataFrame, sha256: str | None, source: str) -> pd.DataFrame:
    found = content_sha256(frame)
    if sha256 is not None and found != sha256:
        raise DataError(
            f"The rows of 'hillstrom' from {source} are truncated or altered: {len(frame)} rows with "
            f"checksum {found[:12]}… instead of {sha256[:12]}…. Hint: get the original file."
        )
    return frame


DATASETS: Final[Mapping[str, Callable[[], pd.DataFrame]]] = MappingProxyType(
    {"randhie": randhie, "hillstrom": hillstrom}
)
"""Built-in datasets by name."""
