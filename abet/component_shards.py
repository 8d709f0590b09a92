"""Components of an evaluation: the shards of its second pass, and what they add to ``metrics.json``. No torch import.

    abet components runs/eval --dataset road_anomaly

The threshold of each score follows from the whole set, so it is read from ``metrics.json``. ``components.json`` says
what the shards were counted with; figures at other thresholds than those of ``metrics.json`` are never shown.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from abet.arrays import load_arrays, save_arrays
from abet.errors import DataError
from abet.files import atomic_path, json_text, read_json
from abet.metrics.components import PROTOCOL, ComponentState, MinimumSizes
from abet.report.records import Metrics
from abet.run import component_name
from abet.storage import Conflict, LocalStorage, version_of
from abet.text import counted
from abet.thresholds import best_f1_threshold, disagreements, with_thresholds

METRICS: Final = "metrics.json"
DESCRIPTION: Final = "components.json"
FORMAT: Final = 1
NO_THRESHOLD: Final = "the set has no best F1, and so no threshold to look for components at"


@dataclass(frozen=True, kw_only=True)
class ComponentShard:
    """What one shard of the second pass adds."""

    fingerprint: dict[str, Any]
    shard: int
    """1-based."""
    images: int
    states: dict[str, ComponentState]
    """By score; none for one without a threshold."""


def write_component_shard(path: Path, result: ComponentShard) -> None:
    """Write a shard's counts; the file appears only when complete."""
    names = ("fingerprint", "shard", "images")
    header = json.dumps({name: getattr(result, name) for name in names}).encode()
    arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(header, np.uint8)}
    for key, state in result.states.items():
        arrays |= {f"{key}.{name}": array for name, array in state.to_arrays().items()}
    with atomic_path(path) as temporary:
        save_arrays(temporary, arrays)


def read_component_shard(path: Path) -> ComponentShard:
    """Read a shard. Raises DataError for a damaged one or one of another version, OSError for an unreadable file."""
    content = path.read_bytes()
    try:
        arrays = load_arrays(content)
        header = json.loads(arrays.pop("header").tobytes())
        version = header["fingerprint"]["format"]
        if version == FORMAT:
            groups: dict[str, dict[str, NDArray[Any]]] = {}
            for name, array in arrays.items():
                key, _, part = name.partition(".")
                groups.setdefault(key, {})[part] = array
            states = {key: ComponentState.from_arrays(part) for key, part in groups.items()}
            result = ComponentShard(**header, states=states)
            _require_whole(result)
            return result
    except MemoryError:  # of this machine
        raise
    except Exception as error:  # a damaged archive raises whatever its parsers raise
        said = str(error) or type(error).__name__
        raise DataError(f"{path}: damaged shard of components ({said}); remove it and count it again") from None
    raise DataError(f"{path}: shard of format {version}, not {FORMAT}; remove it and count it again")


def _require_whole(result: ComponentShard) -> None:
    """Raises DataError unless every score with a threshold is there, counted at it, and all have met the same objects.

    The checksums tell whether an array is as it was written; this, whether one is there at all.
    """
    thresholds = {key: value for key, value in result.fingerprint["thresholds"].items() if value is not None}
    sizes = MinimumSizes(**result.fingerprint["minimum_pixels"])
    states = result.states.values()
    if {key: state.threshold for key, state in result.states.items()} != thresholds:
        raise DataError("not the scores and thresholds that it was counted for")
    if {state.sizes for state in states} - {sizes}:
        raise DataError("not the minimum sizes that it was counted for")
    # how large each object is, and how many are too small, is a matter of the labels alone
    if len({(state.small_objects, *np.sort(state.objects[:, 1]).tolist()) for state in states}) > 1:
        raise DataError("not all scores hold the same objects")


def read_metrics(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of an evaluation, with all that a second pass takes from it.

    Raises DataError when the file is missing or damaged.
    """
    path = folder / METRICS
    metrics = read_json(path)
    try:
        Metrics.model_validate(metrics)
        for key in with_thresholds(metrics):
            best_f1_threshold(metrics, key)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: damaged ({where}: {first['msg']}); merge the shards again") from None
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: damaged (best_f1_threshold of {key}); merge the shards again") from None
    return metrics


def read_description(folder: Path) -> dict[str, Any]:
    """What ``components.json`` of an evaluation says. Raises DataError when it is missing or damaged."""
    description = read_json(folder / DESCRIPTION)
    kinds = {"shards": int, "images": int, "track": str, "thresholds": dict}
    if any(not isinstance(description.get(key), kind) for key, kind in kinds.items()):
        raise DataError(f"{folder / DESCRIPTION}: damaged; remove it with the components-*.npz beside it")
    return description


def missing_component_shards(description: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The files that ``components.json`` speaks of and that are not among ``names``."""
    there = set(names)
    return [name for name in component_names(description) if name not in there]


def component_names(description: Mapping[str, Any]) -> list[str]:
    """The files of all shards that ``components.json`` speaks of, in order of their number."""
    count = int(description["shards"])
    return [component_name(shard, count) for shard in range(1, count + 1)]


def with_components(folder: Path, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """``metrics`` with the components that were counted below ``folder`` for it, and why there are none, if so.

    Nothing was counted: the same metrics, and no reason.

    Raises:
        DataError: a shard is damaged, or of another pass than ``components.json`` says.
    """
    bare = without_components(metrics)
    if not (folder / DESCRIPTION).exists():
        return bare, None
    description = read_description(folder)
    if changed := disagreements(description, metrics):
        return bare, (
            f"{folder / DESCRIPTION}: components were counted for other figures ({'; '.join(changed)}) and are left "
            f"out: remove it with the components-*.npz beside it, and run `abet components` again"
        )
    missing = missing_component_shards(description, (path.name for path in folder.glob("components-*.npz")))
    if missing:
        return bare, f"{folder}: {counted(len(missing), 'shard')} of components missing: {', '.join(missing)}"
    states = _merged(folder, description)
    for key in description["thresholds"]:
        entry = states[key].summarise() if key in states else _undefined()
        shared = {name: description[name] for name in ("track", "minimum_pixels")}
        bare["scores"][key]["protocols"][PROTOCOL] = entry | shared
    return bare, None


def add_components(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Write the components that are counted into ``metrics.json``; returns as `with_components`.

    The bytes are those that merging all shards of both passes gives: JSON keeps every digit.
    """
    return write_figures(folder, lambda: read_metrics(folder))


def write_figures(folder: Path, figures: Callable[[], Mapping[str, Any]]) -> tuple[dict[str, Any], str | None]:
    """Write ``metrics.json`` of ``figures`` with the components that are counted; returns as `with_components`.

    A merge and the last shard of the second pass may do so at once: whoever finds that the file has changed since it
    looked for components looks again, so that neither takes away what the other has added.
    """
    while True:
        seen = version_of(folder / METRICS)
        metrics, reason = with_components(folder, figures())
        with suppress(Conflict):
            LocalStorage(folder).write(METRICS, json_text(metrics).encode(), expect=seen)
            return metrics, reason


def without_components(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without any entry of components, so that no old one stays."""
    scores = {}
    for key, entry in metrics["scores"].items():
        scores[key] = dict(entry)
        if "protocols" in entry:
            scores[key]["protocols"] = {name: value for name, value in entry["protocols"].items() if name != PROTOCOL}
    return {**metrics, "scores": scores}


def _undefined() -> dict[str, Any]:
    names = ("siou", "siou_predictions", "ppv", "f1")
    return {"protocol": PROTOCOL, "threshold": None, **dict.fromkeys(names), "reason": NO_THRESHOLD}


def _merged(folder: Path, description: Mapping[str, Any]) -> dict[str, ComponentState]:
    """All shards together; one is in memory at a time beside the sum."""
    total: dict[str, list[ComponentState]] = {}
    images = 0
    for number, name in enumerate(component_names(description), 1):
        shard = read_component_shard(folder / name)
        changed = [key for key, value in shard.fingerprint.items() if description.get(key) != value]
        if changed or shard.shard != number:
            raise DataError(
                f"{folder / name}: holds shard {shard.shard} of another pass than {DESCRIPTION} says "
                f"(different: {', '.join(changed) or 'number'}); remove it and count it again"
            )
        images += shard.images
        for key, state in shard.states.items():
            total.setdefault(key, []).append(state)
    if images != description["images"]:
        raise DataError(
            f"{folder}: components of {images} of {counted(description['images'], 'image')}; count them again"
        )
    return {key: ComponentState.merge(*states) for key, states in total.items()}
