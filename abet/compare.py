"""The maps that the matrix figure shows, at full resolution, from the runs' own checkpoints.

    abet report runs/a runs/b --matrix matrix.png --images frames/a.jpg,frames/b.jpg

What a run's checkpoint says of an image is computed once and kept beside its evaluation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abet.config import ModelConfig, parse
from abet.data.index import OodDataset, Pair, open_dataset
from abet.detector import Detector, class_map, load_detector, score_map
from abet.errors import DataError, UsageError
from abet.evaluate import write_sample
from abet.files import read_json
from abet.progress import progress
from abet.report.matrix import MatrixColumn, matrix_columns, row_from_samples, write_matrix
from abet.report.runs import RunResults, Sample, load_sample
from abet.run import evaluation_dir, read_config


def draw_matrix(
    runs: Sequence[RunResults],
    output: Path,
    *,
    dataset: str | None,
    images: Sequence[str],
    scores: Sequence[str],
    data_root: Path | None,
    device: str,
) -> None:
    """Draw rows ``images`` (default: those that the first run kept for its gallery) by columns (run, score).

    Raises:
        UsageError: no common data set or several without a choice; an unknown image or score.
        DataError: the data or a run's checkpoint is no longer where the run found it.
    """
    name = dataset or _only_dataset(runs)
    columns = matrix_columns(runs, name, scores or None)
    data = _open(runs[0], name, data_root).select(images=images or list(runs[0].datasets[name].samples))
    samples = _samples(columns, data, device)
    drawn = [column for _, column in columns]
    rows = [
        row_from_samples(name, [samples[run.path, pair.name] for run, _ in columns], drawn)
        for pair in _in_order(data, images)
    ]
    write_matrix(rows, drawn, output)


def _only_dataset(runs: Sequence[RunResults]) -> str:
    common = set.intersection(*(set(run.datasets) for run in runs))
    if len(common) == 1:
        return common.pop()
    shown = ", ".join(sorted(common)) or "none"
    raise UsageError(f"the matrix shows one data set and these runs share {shown}: choose with --dataset")


def _in_order(data: OodDataset, images: Sequence[str]) -> list[Pair]:
    """The chosen pairs in the order in which they were named."""
    return [pair for name in images for pair in data.select(images=[name]).pairs] if images else list(data.pairs)


def _open(run: RunResults, dataset: str, data_root: Path | None) -> OodDataset:
    description = read_json(evaluation_dir(run.path, dataset) / "evaluation.json")
    root = data_root or Path(str(description["data_root"]))
    return open_dataset(dataset, root, str(description["split"]))


def _samples(
    columns: Sequence[tuple[RunResults, MatrixColumn]], data: OodDataset, device: str
) -> Mapping[tuple[Path, str], Sample]:
    """(run, image) -> its maps, computed where they are not kept yet; one network in memory at a time."""
    keys: dict[Path, list[str]] = {}
    for run, column in columns:
        keys.setdefault(run.path, []).append(column.score)
    kept = {(run, pair.name): _kept_path(run, data.name, pair) for run in keys for pair in data.pairs}
    todo = {place: path for place, path in kept.items() if not _holds(path, keys[place[0]])}
    with progress("matrix", len(todo)) as advance:
        for path, wanted in keys.items():
            pairs = [pair for pair in data.pairs if (path, pair.name) in todo]
            if not pairs:
                continue
            detector = _detector_of(path, device)
            for pair in pairs:
                _compute(detector, data, pair, wanted, kept[path, pair.name])
                advance(1)
    return {place: load_sample(path) for place, path in kept.items()}


def _kept_path(run: Path, dataset: str, pair: Pair) -> Path:
    return evaluation_dir(run, dataset) / "matrix" / (pair.name.replace("/", "__") + ".npz")


def _holds(path: Path, keys: Sequence[str]) -> bool:
    return path.is_file() and set(keys) <= set(load_sample(path).scores)


def _compute(detector: Detector, data: OodDataset, pair: Pair, keys: Sequence[str], path: Path) -> None:
    image, label = data.read(pair)
    output = detector.output(image)
    maps = {f"score_{key}": score_map(key, output) for key in keys}
    sample = {"name": np.array(pair.name), "image": image, "label": label, "prediction": class_map(output), **maps}
    write_sample(path, sample)


def _detector_of(run: Path, device: str) -> Detector:
    """The run's own checkpoint, from where the run found it."""
    config = read_config(run)
    path = Path(config["checkpoint"]["uri"])
    if not path.exists():
        raise DataError(f"{run}: its checkpoint {path} is not there any more; the matrix needs it (or draw fewer runs)")
    model = parse(ModelConfig, config["model"], source=f"{run}/config.yaml")
    detector = load_detector(path, device=device, model=model)
    if detector.sha256 != config["checkpoint"]["sha256"]:
        raise DataError(f"{run}: {path} holds other weights than the run evaluated; evaluate again")
    return detector
