"""Kernels are compiled once and found again by other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spark_uplift.core import jit
from tests.unit.core.data import fit
from tests.unit.core.test_splitting import random_rows

_SECOND_PROCESS = """
import time
started = time.perf_counter()
from spark_uplift.core import binning, jit, prediction, sampling, splitting, tree_kernel
from spark_uplift.criteria.registry import CRITERIA
from tests.unit.core.data import fit
from tests.unit.core.test_splitting import random_rows

imported = time.perf_counter()
rows = random_rows(0, 2, 300, 1)
fit(rows, bootstrap=True).predict(rows.codes)
took = time.perf_counter() - imported
kernels = [tree_kernel.fill_bag, tree_kernel.grow, prediction._predict, binning._encode]
for kernel in kernels:
    stats = kernel.stats
    print(kernel.__name__, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
print("gain", CRITERIA["gradient"].gain.cache_hits, 0)
print("folder", jit.CACHE_DIR)
print("seconds", took)
"""


def test_a_second_process_compiles_nothing() -> None:
    assert jit.CACHED
    rows = random_rows(0, 2, 300, 1)
    fit(rows, bootstrap=True).predict(rows.codes)  # this process fills the cache if it was cold
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _SECOND_PROCESS],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *kernels, folder, seconds = [line.split() for line in done.stdout.splitlines()]
    if folder[1] != jit.CACHE_DIR:
        pytest.skip("the package's sources were changed while the tests ran")
    assert len(kernels) == 5
    for name, hits, misses in kernels:
        assert (int(hits) >= 1, int(misses)) == (True, 0), f"{name} was compiled anew"
    assert float(seconds[1]) < 10.0  # a second or less on a machine of its own; compiling takes far longer


def blocked(tmp_path: Path) -> Path:
    """A folder that can't be made, not even by root: its parent is a file."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cache"


def test_a_given_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    folder = Path(str(jit._cache_folder()))
    assert folder.parent == tmp_path / "given"
    assert folder.is_dir()
    assert folder.name == f"sources-{jit._sources_digest()}"


def test_a_folder_handed_down_to_a_worker_is_not_nested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "sources-of-the-driver"))
    assert Path(str(jit._cache_folder())).parent == tmp_path


def test_an_unwritable_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked(tmp_path)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert Path(str(jit._cache_folder())).parent == tmp_path / "home" / "spark_uplift" / "numba"


def test_without_any_folder_kernels_are_compiled_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = blocked(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere))
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(nowhere))
    assert jit._cache_folder() is None


def test_kernels_release_the_interpreter_and_keep_ieee_arithmetic() -> None:
    options = jit.kernel(lambda x: x + 1.0).targetoptions
    assert options["nogil"]
    assert not options.get("fastmath", False)
