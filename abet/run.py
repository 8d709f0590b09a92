"""The run directory: which job or checkpoint it belongs to, what started it, and where its files stand.

A run of `abet train` keeps its recipe in ``config.yaml``; what was evaluated of it then stands in
``evaluation/config.yaml``. In a run that only evaluates, that is ``config.yaml`` itself.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, overload

import yaml

from abet.errors import DataError, UsageError
from abet.files import read_json, write_bytes, write_json
from abet.places import Place, parse_place
from abet.version import __version__

CONFIG = "config.yaml"
PROVENANCE = "run.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
PICTURES = "pictures"
FAILED_BATCHES = "failed_batches"
OWNER = "owner.json"
REPORT = "report.html"
DESCRIPTION = "evaluation.json"
"""In the folder of one data set's evaluation: what its shards share."""
STARTS = "starts.json"
"""Starts of the pods that trained the run, where a cluster starts them again by itself."""
OURS = frozenset(
    {
        CONFIG,
        PROVENANCE,
        METRICS,
        TENSORBOARD,
        CHECKPOINTS,
        PICTURES,
        FAILED_BATCHES,
        OWNER,
        REPORT,
        STARTS,
        "evaluation",
    }
)
NO_NETWORK = "controls (no network)"
"""In place of a checkpoint's name, where `abet controls` evaluated."""
PACKAGES = ("torch", "numpy", "pillow", "safetensors")
SHARD_NAME = re.compile(r"shard-(\d+)-of-(\d+)\.npz")
COMPONENTS_NAME = re.compile(r"components-(\d+)-of-(\d+)\.npz")
"""Shards of the second pass, which looks for components (`abet.component_shards`)."""
Agree = Callable[[Path], None]
"""Called with a file that decides, just written unless it was there: puts in its place what all others see there."""


STEP_NAME = re.compile(r"step-([0-9]{8,})(?:-g([0-9]{4,}))?")


def step_name(step: int, generation: int = 0) -> str:
    """``step-00001234``: how files and folders of a training step are named.

    In S3 the generation of the trainer that wrote it is added (``step-00001234-g0003``), so that no two trainers ever
    write under one name.
    """
    return f"step-{step:08d}" + (f"-g{generation:04d}" if generation else "")


def parse_step_name(name: str) -> tuple[int, int] | None:
    """Generation (0: none in the name) and step of a name that `step_name` makes: in this order newer is larger."""
    match = STEP_NAME.fullmatch(name)
    if match is None:
        return None
    step, generation = int(match[1]), int(match[2] or 0)
    return (generation, step) if name == step_name(step, generation) else None


@overload
def evaluation_dir(run: Path, dataset: str) -> Path: ...
@overload
def evaluation_dir(run: Place, dataset: str) -> Place: ...
def evaluation_dir(run: Place, dataset: str) -> Place:
    """Where the evaluation of ``dataset`` stands."""
    return run / "evaluation" / dataset


def shard_name(shard: int, shards: int) -> str:
    """``shard-003-of-008.npz``: the name of shard ``shard`` (1-based) of ``shards``."""
    return f"shard-{shard:03d}-of-{shards:03d}.npz"


def shard_path(run: Path, dataset: str, shard: int, shards: int) -> Path:
    """Path of shard ``shard`` (1-based) of ``shards``."""
    return evaluation_dir(run, dataset) / shard_name(shard, shards)


def component_name(shard: int, shards: int) -> str:
    """``components-003-of-008.npz``: the name of shard ``shard`` (1-based) of ``shards`` of the second pass."""
    return f"components-{shard:03d}-of-{shards:03d}.npz"


def sample_path(run: Path, dataset: str, image_name: str, *, kind: str = "samples") -> Path:
    """Path of the maps kept of one image: ``samples`` for the report, ``matrix`` at full resolution."""
    file_name = image_name.replace("%", "%25").replace("/", "%2F")
    return evaluation_dir(run, dataset) / kind / f"{file_name}.npz"


def nobody_else(path: Path) -> None:
    """`Agree` for a run on this machine: what stands there is what all see."""


def open_run(run: Path, config: dict[str, Any], *, agree: Agree = nobody_else) -> None:
    """Begin or rejoin a run directory that belongs to ``config["checkpoint"]["sha256"]``.

    Shards may start at the same moment: one of them writes, and all compare with what stands there then.
    Raises as `refuse_foreign` does.
    """
    refuse_foreign(run, config)
    write_bytes(evaluation_config(run), yaml.safe_dump(config, sort_keys=False).encode(), keep_existing=True)
    agree(evaluation_config(run))
    refuse_foreign(run, config)
    write_json(run / PROVENANCE, provenance(), keep_existing=True)
    agree(run / PROVENANCE)


def refuse_foreign(run: Path, config: dict[str, Any]) -> None:
    """Writes nothing.

    Raises:
        UsageError: the folder belongs to another checkpoint, or holds files that no run wrote.
    """
    if evaluation_config(run).exists():
        _same_checkpoint(run, config)
    else:
        require_ours(run)


def run_of(checkpoint: Path) -> Path | None:
    """The training run that a checkpoint (a run directory, or one of its steps) belongs to; None for other folders."""
    return next((place for place in (checkpoint, *checkpoint.parents[1:2]) if (place / CHECKPOINTS).is_dir()), None)


def evaluation_config(run: Path) -> Path:
    """Where the evaluations below ``run`` say which checkpoint they belong to."""
    return run / "evaluation" / CONFIG if (run / CHECKPOINTS).is_dir() else run / CONFIG


def require_ours(run: Path) -> None:
    """Raises UsageError for a folder with files that no run wrote, or something that is no folder.

    A training run stays one, whatever people put beside its files.
    """
    if run.exists():
        require_ours_among(run, [path.name for path in run.iterdir()] if run.is_dir() else [run.name])


def require_ours_among(run: Place, names: Iterable[str]) -> None:
    """The same by the names of what lies directly below ``run``."""
    there = set(names)
    if not {OWNER, CONFIG} <= there and any(map(_is_foreign, there)):
        raise UsageError(f"{run} is not empty and not a run directory: choose another --output")


def require_trainable(run: Path) -> None:
    """Raises UsageError as `require_ours` does, and for a run that holds evaluations of a checkpoint from elsewhere."""
    require_ours(run)
    if (run / CONFIG).is_file() and not ((run / OWNER).is_file() or (run / CHECKPOINTS).is_dir()):
        raise UsageError(f"{run} holds evaluations ({CONFIG} names their checkpoint): choose another --output to train")


def _is_foreign(name: str) -> bool:
    """Not what another shard, starting at this moment, may have written since we looked."""
    return name not in OURS and not name.startswith(".")


def _same_checkpoint(run: Path, config: dict[str, Any]) -> None:
    found = read_config(run)["checkpoint"]
    wanted = config["checkpoint"]
    if found["sha256"] != wanted["sha256"]:
        raise UsageError(
            f"{run} holds the run of another checkpoint ({found['uri']}, sha256 {found['sha256'][:12]}; "
            f"this one is {wanted['uri']}, {wanted['sha256'][:12]}): choose another --output"
        )


def require_network(uri: str, run: Place | Path, *, purpose: str) -> None:
    """Raises UsageError where a network is needed and `abet controls` evaluated, by the name of its checkpoint."""
    if uri == NO_NETWORK:
        raise UsageError(
            f"{run} holds controls, which have no network: {purpose}; `abet report` puts their figures beside a model's"
        )


def read_config(run: Path) -> dict[str, Any]:
    """What the evaluations of a run belong to. Raises DataError when there are none or the file is damaged."""
    path = evaluation_config(run)
    if not path.is_file():
        why = f"{path.relative_to(run)} is missing" if run.is_dir() else "no such folder"
        raise DataError(
            f"{run}: nothing is evaluated here ({why}); `abet evaluate --output {run} --dataset NAME` does it"
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {"uri": config["checkpoint"]["uri"], "sha256": config["checkpoint"]["sha256"]}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        raise DataError(f"{path}: damaged; evaluate into a new --output") from None
    return {**config, "checkpoint": known}


def read_evaluation(run: Path, dataset: str) -> dict[str, Any]:
    """What ``evaluation.json`` says of an evaluation: ``dataset``, ``split`` and ``data_root`` are texts.

    Raises DataError when the file is missing or damaged.
    """
    path = evaluation_dir(run, dataset) / DESCRIPTION
    description = read_json(path)
    texts = {**description, "ood_definition": description.get("ood_definition") or ""}  # the usual one is not named
    names = ("dataset", "split", "data_root", "ood_definition")
    if wrong := [name for name in names if not isinstance(texts.get(name), str)]:
        raise DataError(
            f"{path}: damaged (no text: {', '.join(wrong)}); remove it and one shard-*.npz beside it, and evaluate "
            "that shard again (`abet evaluate` with --shard and all options of before), which writes both"
        )
    return description


def data_root_of(description: Mapping[str, Any], given: Place | None) -> Place:
    """Where the data of an evaluation are: at ``given``, else where it read them. Raises DataError if gone from there.

    description: as from `read_evaluation`.
    """
    found = given or parse_place(description["data_root"])
    if given is None and isinstance(found, Path) and not found.is_dir():
        raise DataError(
            f"{found}: there the run read {description['dataset']}, and it is gone: say where it is with --data-root"
        )
    return found


def provenance() -> dict[str, Any]:
    """What started this process: versions, commit, arguments. No environment variable goes in."""
    return {
        "abet": __version__,
        "git_sha": _git_sha(),
        "image_digest": os.environ.get("ABET_IMAGE_DIGEST"),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "argv": sys.argv,
    }


def _git_sha() -> str | None:
    """Commit of the checkout that this code runs from, ``-dirty`` when edited; in an image, that it was built of.

    None where neither is known.
    """
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return os.environ.get("ABET_REVISION") or None
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
