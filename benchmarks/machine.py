"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Return the machine: processor, cores, memory, system, Java, Python, and how busy it is."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(_memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "java": _java(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def sentence(machine: dict[str, Any]) -> str:
    """Return the machine in words."""
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']:g} GB of memory, "
        f"{machine['system']}, Python {machine['python']}, Java {machine['java']}, {machine['date']}"
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = dict(
        re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE)
    )
    family = (
        f" (family {facts['cpu family']}, model {facts['model']})"
        if {"cpu family", "model"} <= set(facts)
        else ""
    )
    return facts.get("model name", platform.machine()) + family


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _java() -> str:
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    found = re.search(r'version "([^"]+)"', done.stderr + done.stdout)
    return found.group(1) if found else "none"
