"""The same as ``python -m benchmarks``, for those who start a file."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.__main__ import main  # the repository must be on the path first

if __name__ == "__main__":
    sys.exit(main())
