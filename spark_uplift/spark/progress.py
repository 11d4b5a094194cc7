"""How training tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, float], None]
"""Called with (trees done, trees in all, seconds so far). Level by level, with the share of the levels in trees."""
