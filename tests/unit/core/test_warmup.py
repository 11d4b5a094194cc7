"""Compiling ahead: after it, nothing that training and scoring call needs compiling."""

from __future__ import annotations

import subprocess
import sys

from spark_uplift.core import binning, counting, prediction, tree_kernel, warmup
from spark_uplift.criteria import registry

KERNELS = (
    binning._encode,
    prediction._predict,
    prediction._squares,
    prediction._leaves,
    counting._count_tree,
    counting._gather_tree,
    tree_kernel.fill_bag,
    tree_kernel.fill_leaves,
    tree_kernel.grow,
)


def test_every_kernel_is_compiled() -> None:
    assert warmup.compile_kernels(registry.get("gradient").gain) >= 0.0
    assert [kernel.py_func.__name__ for kernel in KERNELS if not kernel.signatures] == []
    assert len(binning._encode.signatures) >= 2  # over numpy's memory, and over Arrow's


def test_it_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spark_uplift.core.warmup"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.startswith("kernels ready in ")
