"""``config.yaml`` and ``run.json`` of a training run: what it is, and every start with why it began where it did."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from abet.errors import DataError
from abet.exits import JOB_ID
from abet.files import read_json, write_bytes, write_json
from abet.places import Place
from abet.run import CONFIG, PROVENANCE, provenance
from abet.training.job import TrainJob


def describe_start(
    job: TrainJob, *, generation: int, step: int, resumed: bool, weights: Mapping[str, str] | None, notes: list[str]
) -> None:
    """Write the complete configuration, and add this start to the run's history.

    The snapshot stays the one that the run began with: a resume reads none. ``weights`` are those that it meant,
    {"uri", "sha256"}.
    """
    config = {
        "recipe": job.name,
        **job.recipe.model_dump(mode="json"),
        "data_root": _absolute(job.data_root),
        **(
            _first_snapshot(job)
            if resumed
            else {"snapshot": _absolute(job.snapshot), "snapshot_weights": None if weights is None else dict(weights)}
        ),
    }
    write_bytes(job.run / CONFIG, yaml.safe_dump(config, sort_keys=False).encode())
    start = {
        **provenance(),
        "generation": generation,
        **({"job": job_id} if (job_id := os.environ.get(JOB_ID)) else {}),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processes": job.topology.processes,
        "device": str(job.topology.device),
        "precision": str(job.arithmetic.dtype).removeprefix("torch."),
        "first_step": step,
        **({"snapshot_weights": dict(weights)} if weights is not None else {}),
        "notes": notes,
    }
    write_json(job.run / PROVENANCE, {"starts": [*_earlier_starts(job), start]})


def _absolute(place: Place | None) -> str | None:
    return place.resolve().as_posix() if isinstance(place, Path) else None if place is None else str(place)


def _first_snapshot(job: TrainJob) -> dict[str, Any]:
    try:
        config = yaml.safe_load((job.run / CONFIG).read_text(encoding="utf-8"))
        return {name: config.get(name) for name in ("snapshot", "snapshot_weights")}
    except (OSError, ValueError, yaml.YAMLError, AttributeError):  # gone or damaged
        return {"snapshot": None, "snapshot_weights": None}


def _earlier_starts(job: TrainJob) -> list[Any]:
    try:
        starts = read_json(job.run / PROVENANCE).get("starts")
    except DataError:  # none yet, or cut short: the history is for people, no run fails over it
        return []
    return starts if isinstance(starts, list) else []
