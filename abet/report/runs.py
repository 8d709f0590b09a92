"""Run directories read back for showing: figures, curves and the maps kept of single images.

run = load_run(Path("runs/abet"))
run.datasets["road_anomaly"].metrics.scores["abet"].ap.value
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from abet.errors import DataError, UsageError, unknown_name
from abet.files import read_json
from abet.labels import CITYSCAPES
from abet.places import Place, S3Uri
from abet.report.coding import unpack
from abet.report.records import CheckpointReference, Curves, CurvesFile, ImageTable, Metrics, Record
from abet.run import evaluation_dir, read_config

R = TypeVar("R", bound=Record)

REMEDY = "run `abet evaluate` (and `abet merge` after a sharded one) first"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Maps kept of one image, all of H x W pixels."""

    name: str
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    label: NDArray[np.uint8]
    """(H, W) of abet.labels ID, OOD, VOID."""
    prediction: NDArray[np.uint8]
    """(H, W) train ids."""
    scores: Mapping[str, NDArray[np.float32]]
    """Score key -> (H, W) raw scores, higher = more out-of-distribution."""
    full_size: tuple[int, int] | None = None
    """Rows and columns of the image itself, where that is known."""


@dataclass(frozen=True, kw_only=True)
class DatasetResults:
    """One data set's part of a run; samples stay on disk until `load_sample`."""

    metrics: Metrics
    curves: Mapping[str, Curves]
    samples: Mapping[str, Path]
    """Image name -> sample file, in order of the names."""
    images: ImageTable | None = None
    """Every image by itself, of an evaluation with ``--protocols``."""

    def sample(self, name: str, *, scores: Sequence[str] | None = None) -> Sample:
        """The maps of one image, of all scores or of those of ``scores`` that it holds.

        Raises UsageError for a name without sample, DataError for a damaged file.
        """
        if name not in self.samples:
            raise unknown_name(kind=f"sample image of {self.metrics.dataset}", name=name, choices=self.samples)
        return load_sample(self.samples[name], scores=scores)

    def sampled_scores(self) -> list[str]:
        """The scores whose maps are kept, by the first sample, in the order of the figures."""
        if not self.samples:
            return []
        kept = score_entries(next(iter(self.samples.values())))
        return [key for key in self.metrics.scores if key in kept]


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """Everything a run directory holds for showing."""

    path: Path
    """The folder that it is read from."""
    place: Place
    """Where the run lies, as users name it: ``path``, or that in S3 which ``path`` is a copy of."""
    num_classes: int
    datasets: Mapping[str, DatasetResults]
    """Name of the data set -> results, in order of the names; never empty."""

    @property
    def checkpoint(self) -> CheckpointReference:
        """The weights of the run (a run directory belongs to one checkpoint)."""
        return next(iter(self.datasets.values())).metrics.checkpoint


def load_run(path: Path, *, place: Place | None = None) -> RunResults:
    """Read every evaluated data set of a run directory, which may be a copy of what lies at ``place``.

    Raises:
        DataError: the folder is no run, nothing in it is evaluated, or a file is damaged; says what to run.
    """
    config = read_config(path)
    folder = evaluation_dir(path, "")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    finished = [name for name in names if (folder / name / "metrics.json").is_file()]
    if not finished:
        begun = f" (begun: {', '.join(names)})" if names else ""
        raise DataError(f"{path}: no data set is evaluated here{begun}; {REMEDY}")
    return RunResults(
        path=path,
        place=path if place is None else place,
        num_classes=_num_classes(config),
        datasets={name: _load_dataset(folder / name) for name in finished},
    )


def _num_classes(config: Mapping[str, Any]) -> int:
    model = config.get("model")
    count = model.get("num_classes") if isinstance(model, dict) else None
    return count if isinstance(count, int) and count > 0 else len(CITYSCAPES)


def _load_dataset(folder: Path) -> DatasetResults:
    metrics = _parse(Metrics, folder / "metrics.json")
    curves = _parse(CurvesFile, folder / "curves.json").scores
    files = sorted((folder / "samples").glob("*.npz"))
    named = sorted((_sample_name(file), file) for file in files)
    return DatasetResults(
        metrics=metrics,
        curves={key: value for key, value in curves.items() if value is not None},
        samples=dict(named),
        images=_parse(ImageTable, folder / "images.json") if (folder / "images.json").is_file() else None,
    )


def _parse(kind: type[R], path: Path) -> R:
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}; {REMEDY}") from None


def _open_sample(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable sample ({error}); {REMEDY}") from None


def _sample_name(path: Path) -> str:
    with _open_sample(path) as file:
        return str(_entry(path, file, "name"))


def _entry(path: Path, file: Any, key: str) -> NDArray[Any]:
    try:
        return np.asarray(file[key])
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: entry {key!r} is missing or damaged ({error}); {REMEDY}") from None


def score_entries(path: Path) -> set[str]:
    """The scores that a sample file holds; none of its maps is read."""
    with _open_sample(path) as file:
        return {key.partition("_")[2] for key in file.files if key.startswith(("score_", "codes_"))}


def load_sample(path: Path, *, scores: Sequence[str] | None = None) -> Sample:
    """Read the maps of one image, of ``scores`` those that it holds.

    Raises DataError for a file that is damaged or whose maps differ in size.
    """
    with _open_sample(path) as file:
        wanted = [key for key in file.files if key != "made_from" and (scores is None or _concerns(key, scores))]
        entries = {key: _entry(path, file, key) for key in wanted}
    try:
        arrays = unpack(entries)
        name, full_size = str(arrays.pop("name")), arrays.pop("full_size", None)
        arrays = {key: arrays[key] for key in ("image", "label", "prediction")} | arrays
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"{path}: an entry is missing or damaged ({error}); {REMEDY}") from None
    keys = [key for key in arrays if key.startswith("score_")]
    height, width = arrays["label"].shape[:2]
    for key, array in arrays.items():
        shape = (height, width, 3) if key == "image" else (height, width)
        kind = np.float32 if key in keys else np.uint8
        if array.shape != shape or array.dtype != kind:
            found = f"{array.dtype} {array.shape}"
            raise DataError(f"{path}: {key} is {found}, expected {np.dtype(kind)} {shape}; {REMEDY}")
    return Sample(
        name=name,
        image=arrays["image"],
        label=arrays["label"],
        prediction=arrays["prediction"],
        scores={key.removeprefix("score_"): arrays[key] for key in keys},
        full_size=None if full_size is None else (int(full_size[0]), int(full_size[1])),
    )


def _concerns(entry: str, scores: Sequence[str]) -> bool:
    kind, _, key = entry.partition("_")
    return kind not in ("score", "codes", "knots") or key in scores


def label_runs(runs: Sequence[RunResults]) -> list[str]:
    """A distinct label for each run: directory and checkpoint, with as many parent folders as tell the runs apart.

    Raises UsageError for a run that is named twice.
    """
    _refuse_twice([run.place for run in runs])
    parts = [_parts(run.place) for run in runs]
    deepest = max((len(path) for path in parts), default=0)
    labels: list[str] = []
    for depth in range(1, deepest + 1):
        labels = [_label(run, _joined(path[-depth:])) for run, path in zip(runs, parts, strict=True)]
        if len(set(labels)) == len(labels):
            return labels
    # Only a folder named like another one's label gets here
    return [f"{label} ({number})" for number, label in enumerate(labels, start=1)]


def _refuse_twice(places: Sequence[Place]) -> None:
    """Raises UsageError for a run that is named twice, however: its rows would stand there twice."""
    seen: dict[tuple[str, ...], Place] = {}
    for place in places:
        if (first := seen.get(_parts(place))) is not None:
            also = "" if str(first) == str(place) else f" (as {first} too)"
            raise UsageError(f"run {place} is named twice{also}: name each run once")
        seen[_parts(place)] = place


def _parts(place: Place) -> tuple[str, ...]:
    """Of a folder they begin with the root, which is no name of a bucket."""
    if isinstance(place, S3Uri):
        return (place.bucket, *(place.prefix.split("/") if place.prefix else ()))
    return place.resolve().parts


def _joined(parts: Sequence[str]) -> str:
    return f"/{'/'.join(parts[1:])}" if parts[0] == "/" else "/".join(parts)


def _label(run: RunResults, directory: str) -> str:
    checkpoint = run.checkpoint.name
    return directory if _parts(run.place)[-1] == checkpoint else f"{directory} · {checkpoint}"


def score_keys(runs: Sequence[RunResults]) -> list[str]:
    """Every score of the runs once, in order of first appearance: the order that tables, plots and colours share."""
    tables = (data.metrics.scores for run in runs for data in run.datasets.values())
    return list(dict.fromkeys(key for table in tables for key in table))
