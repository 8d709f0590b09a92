"""What a run must hold for a second pass, looked up where that is submitted: before anything waits in a queue.

No torch, no numpy. What `abet components` compares beside it (images, arithmetic, weights) is known on the node alone.
"""

from collections.abc import Mapping
from typing import Any, Final

from abet.errors import DataError, UsageError
from abet.files import parse_json
from abet.places import Place
from abet.run import evaluation_dir
from abet.site import SiteConfig
from abet.storage import NotFound, open_storage
from abet.text import counted
from abet.thresholds import SMIYC, disagreements, with_thresholds

METRICS: Final = "metrics.json"
COMPONENTS: Final = "components.json"
REMOVE: Final = "remove it with the components-*.npz beside it"


def require_merged(run: Place, dataset: str, site: SiteConfig) -> None:
    """Raises UsageError for an evaluation without the figures that a second pass takes its thresholds from."""
    path, metrics = evaluation_dir(run, dataset) / METRICS, read_from_run(run, dataset, METRICS, site)
    if metrics is None:
        raise UsageError(
            f"{evaluation_dir(run, dataset)}: no metrics.json, which holds the thresholds of components: evaluate "
            "with --protocols first, and wait for the merge"
        )
    if not _scores(path, metrics):
        raise UsageError(
            f"{path}: no {SMIYC} of any score, whose best F1 is the threshold for components: evaluate with "
            "--protocols (make: EVAL_ARGS=--protocols) into a new --output (OUTPUT=), and wait for the merge"
        )


def require_same_pass(
    run: Place, dataset: str, site: SiteConfig, *, shards: int, track: str | None = None, scores: str | None = None
) -> None:
    """Raises UsageError where ``run`` holds components of another pass than is wanted, or of figures that have changed.

    Args:
        run: what is evaluated into.
        dataset: of the evaluation.
        site: where S3 is.
        shards: into how many the pass is split.
        track: minimum sizes; None: not said.
        scores: keys with commas between, or ``all``; None: not said.
    """
    path, found = evaluation_dir(run, dataset) / COMPONENTS, read_from_run(run, dataset, COMPONENTS, site)
    if found is None:
        return
    metrics = read_from_run(run, dataset, METRICS, site)
    try:
        changed = [] if metrics is None else disagreements(found, metrics)
        keys, there = set(found["scores"]), int(found["shards"])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise DataError(f"{path}: damaged, or metrics.json is: {REMOVE}, and merge the shards again") from None
    if changed:
        raise UsageError(
            f"{path}: components were counted for other figures than those of metrics.json ({'; '.join(changed)}), "
            f"and are not shown: {REMOVE}, and submit it again"
        )
    if there != shards:
        raise UsageError(
            f"--shards {shards}: {path} is of {counted(there, 'shard')}, and all shards of a pass are parts of one "
            f"whole: give --shards {there} (make: SHARDS={there}), or {REMOVE}"
        )
    if track not in (None, found.get("track")):
        raise UsageError(f"--track {track}: {path} is of {found.get('track')}: leave --track out, or {REMOVE}")
    wanted = set(_scores(path, metrics) if scores == "all" else scores.split(",")) if scores else keys
    if metrics is not None and wanted != keys:
        raise UsageError(f"--scores {scores}: {path} is of {','.join(found['scores'])}: name these, or {REMOVE}")


def _scores(path: Place, metrics: Mapping[str, Any] | None) -> list[str]:
    try:
        return [] if metrics is None else with_thresholds(metrics)
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: damaged; merge the shards again") from None


def read_from_run(run: Place, dataset: str, name: str, site: SiteConfig) -> dict[str, Any] | None:
    """The JSON file ``name`` of an evaluation; None: there is none. Raises DataError for a damaged one."""
    folder = evaluation_dir(run, dataset)
    try:
        content, _ = open_storage(folder, site.s3).read(name)
    except NotFound:
        return None
    return parse_json(content, source=folder / name)
