"""How kernels are compiled: numba, cached on disk so that a fresh worker does not compile.

numba decides where its cache lives when a function is decorated, so this module must be imported before any kernel:
every kernel takes its decorator from here.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATE = "sources-"


def _sources_digest() -> str:
    """Return a digest of the package's own sources.

    numba looks only at the file of a kernel itself: after a change in a helper from another file it would go on using
    the old machine code. A folder a state of the sources leaves no room for that.
    """
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for folder in ("core", "criteria", "metrics", "policy"):
        for source in sorted((package / folder).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _cache_folder() -> str | None:
    """Return a writable folder for compiled kernels, or None when there is none.

    An explicit ``NUMBA_CACHE_DIR`` wins. Site-packages is often read-only on executors and numba then refuses to
    cache ("no locator available"), so the user's cache folder and the temporary folder are tried in turn.
    """
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    candidates = [Path(wanted)] if wanted else []
    candidates += [
        home / "spark_uplift" / "numba",
        Path(tempfile.gettempdir()) / f"spark_uplift-numba-{os.getuid()}",
    ]
    try:
        state = _sources_digest()
    except OSError:  # imported from a zip archive
        state = "packed"
    for root in candidates:
        # The variable is handed down to worker processes, which must not nest a folder in the folder.
        folder = (root.parent if root.name.startswith(_STATE) else root) / f"{_STATE}{state}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return str(folder)
        except OSError:
            continue
    return None


CACHE_DIR = _cache_folder()
if CACHE_DIR is not None:
    os.environ["NUMBA_CACHE_DIR"] = CACHE_DIR
CACHED = CACHE_DIR is not None

import numba  # noqa: E402  (the cache folder must be known first)
from numba.core import config as _numba_config  # noqa: E402

if CACHE_DIR is not None:
    # numba may have been imported earlier by somebody else
    _numba_config.CACHE_DIR = CACHE_DIR  # type: ignore[attr-defined]


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL, without fast-math (results must agree to the bit), cached on disk."""
    return numba.njit(nogil=True, cache=CACHED)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a small helper that LLVM may inline into the kernel that calls it."""
    # `_nrt=False`: such a helper allocates nothing, and counting references to the arrays that it is given costs more
    # than what it does.
    return numba.njit(nogil=True, cache=CACHED, _nrt=False)(function)  # type: ignore[call-overload]


def callback(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that cached kernels can take as an argument (a criterion's gain).

    A C callback has a type that does not change between processes, unlike a numba dispatcher; only so does the
    on-disk cache of the kernel that takes it hit in a fresh worker.
    """
    return numba.cfunc(signature, cache=CACHED)
