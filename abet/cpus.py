"""How many CPUs there are to use. No torch import."""

import math
import os
from contextlib import suppress
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use: microseconds of processor time, and of which period."""


def available_cpus() -> int:
    """CPUs that this process may use: a scheduler's share of the machine, and a container's, where the system tells."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file, or "max" in place of a number
        quota, period = map(int, QUOTA.read_text().split())
        return min(cpus, max(1, math.ceil(quota / period)))
    return cpus
