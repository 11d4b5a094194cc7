"""Running Spark jobs side by side from one driver."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def side_by_side(*jobs: Callable[[], Any]) -> list[Any]:
    """Run jobs in threads of their own and return their results in order.

    Small jobs leave cores idle while they plan, start and commit; side by side they take hardly longer than
    the longest.

    Raises
    ------
    Exception
        The first error in the order of `jobs`, when all have ended.
    """
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        futures = [pool.submit(job) for job in jobs]
    return [future.result() for future in futures]
