"""How many CPUs there are to use. No torch import."""

import os


def available_cpus() -> int:
    """CPUs that this process may use: a scheduler's share of the machine where the system tells it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
