"""The maps that the matrix figure shows, at full resolution, from the runs' own checkpoints.

    abet report runs/a runs/b --matrix matrix.png --images frames/a.jpg,frames/b.jpg

What a run's checkpoint says of an image is computed once and kept beside its evaluation.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abet.arrays import load_arrays
from abet.data.index import Dataset, Pair, open_dataset
from abet.detector import Detector, class_map, load_place, score_map
from abet.errors import DataError, UsageError
from abet.files import sha256_of
from abet.model_config import ModelConfig
from abet.places import Place, parse_place
from abet.progress import progress
from abet.report.maps import evenly
from abet.report.matrix import MatrixColumn, matrix_columns, row_from_samples, write_matrix
from abet.report.runs import RunResults, Sample, load_sample
from abet.run import data_root_of, read_config, read_evaluation, require_network, sample_path
from abet.samples import Arrays, make_sample, write_sample
from abet.settings import parse
from abet.site import SiteConfig
from abet.staging import stage

ROWS = 6
"""Images that the figure shows unless told which."""


def draw_matrix(
    runs: Sequence[RunResults],
    output: Path,
    *,
    dataset: str | None,
    images: Sequence[str],
    scores: Sequence[str],
    data_root: Place | None,
    device: str,
    site: SiteConfig,
) -> None:
    """Draw rows ``images`` (default: some of those that the first run kept) by columns (run, score).

    Raises:
        UsageError: no common data set or several without a choice; an unknown image or score.
        DataError: the data or a run's checkpoint is no longer where the run found it, or the runs read labels
            differently.
    """
    name = dataset or _only_dataset(runs)
    columns = matrix_columns(runs, name, scores or None)
    chosen = images or evenly(list(runs[0].datasets[name].samples), ROWS)
    sets = {run: data.select(images=chosen) for run, data in _open(runs, name, data_root, site).items()}
    _require_one_label({data.definition: data for data in sets.values()})
    samples = _samples(columns, sets, device, site)
    drawn = [column for _, column in columns]
    rows = [
        row_from_samples(name, [samples[run.path, pair.name] for run, _ in columns], drawn)
        for pair in _in_order(sets[runs[0].path], images)
    ]
    write_matrix(rows, drawn, output)


def _only_dataset(runs: Sequence[RunResults]) -> str:
    common = set.intersection(*(set(run.datasets) for run in runs))
    if len(common) == 1:
        return common.pop()
    shown = ", ".join(sorted(common)) or "none"
    raise UsageError(f"the matrix shows one data set and these runs share {shown}: choose with --dataset")


def _in_order(data: Dataset, images: Sequence[str]) -> list[Pair]:
    """The chosen pairs in the order in which they were named."""
    return [pair for name in images for pair in data.select(images=[name]).pairs] if images else list(data.pairs)


def _open(
    runs: Sequence[RunResults], dataset: str, data_root: Place | None, site: SiteConfig
) -> Mapping[Path, Dataset]:
    """By run the images that the first one was evaluated on, their labels read by the run's own definition of OOD."""
    for run in runs:
        require_network(run.checkpoint.uri, run.place, purpose="they keep no score maps for a matrix")
    told = {run.path: read_evaluation(run.path, dataset) for run in runs}
    first = told[runs[0].path]
    root = stage(data_root_of(first, data_root), site, what=dataset)
    names = {run: description.get("ood_definition") for run, description in told.items()}
    opened = {
        name: open_dataset(dataset, root, first["split"], definition=name) for name in dict.fromkeys(names.values())
    }
    return {run: opened[name] for run, name in names.items()}


def _require_one_label(sets: Mapping[str | None, Dataset]) -> None:
    """Raises DataError where two definitions of OOD read an image's label differently: a row shows one."""
    first, *others = sets.values()
    for data in others:
        for pair in first.pairs:
            if not np.array_equal(first.read(pair)[1], data.read(pair)[1]):
                raise DataError(
                    f"{pair.name}: the runs have different labels of it, by their definitions of OOD, and a row shows "
                    "one: draw runs that were evaluated with one --ood-definition"
                )


def _samples(
    columns: Sequence[tuple[RunResults, MatrixColumn]], sets: Mapping[Path, Dataset], device: str, site: SiteConfig
) -> Mapping[tuple[Path, str], Sample]:
    """(run, image) -> its maps, computed where they are not kept yet; one network in memory at a time."""
    keys: dict[Path, list[str]] = {}
    for run, column in columns:
        keys.setdefault(run.path, []).append(column.score)
    by_definition = {data.definition: data for data in sets.values()}
    hashes = {name: {pair.name: _made_from(data, pair) for pair in data.pairs} for name, data in by_definition.items()}
    made_from = {(run, name): own for run in keys for name, own in hashes[sets[run].definition].items()}
    kept = {(run, name): sample_path(run, sets[run].name, name, kind="matrix") for run, name in made_from}
    todo = {place for place, path in kept.items() if not _holds(path, made_from[place], keys[place[0]])}
    with progress("matrix", len(todo)) as advance:
        for path, wanted in keys.items():
            data = sets[path]
            pairs = [pair for pair in data.pairs if (path, pair.name) in todo]
            if not pairs:
                continue
            detector = _fitted_as_evaluated(_detector_of(path, device, site), path, data.name, wanted, site)
            for pair in pairs:
                sample = _computed(detector, data, pair)
                write_sample(kept[path, pair.name], {**sample, "made_from": np.array(made_from[path, pair.name])})
                advance(1)
    return {place: load_sample(path) for place, path in kept.items()}


def _fitted_as_evaluated(
    detector: Detector, run: Path, dataset: str, keys: Sequence[str], site: SiteConfig
) -> Detector:
    """With what was fitted for it, where one of the scores needs it; thresholds are of the fit that was evaluated."""
    detector = detector.with_fitted(keys, site.s3)
    evaluated = read_evaluation(run, dataset).get("fitted_sha256")
    reasons = [reason for key in keys if (reason := detector.why_missing(key)) is not None]
    if not reasons and detector.fitted_sha256(keys) not in (None, evaluated):
        reasons = ["`abet fit` has run again since"]
    if reasons:
        raise DataError(f"{run}: {dataset} cannot be drawn as it was evaluated: {reasons[0]}; evaluate again")
    return detector


def _made_from(data: Dataset, pair: Pair) -> str:
    """Fingerprint of the files behind a map, and of how the label is read (a run directory is of one checkpoint)."""
    read_by = hashlib.sha256(data.labels.signature.encode()).hexdigest()
    return "".join(map(sha256_of, filter(None, (pair.image, pair.label, pair.overlay)))) + read_by


def _holds(path: Path, made_from: str, keys: Sequence[str]) -> bool:
    """Whether a file is there and whole, made from this, with these scores; a damaged one is as good as none."""
    if not path.is_file():
        return False
    wanted = {"name", "image", "label", "prediction", *(f"score_{key}" for key in keys)}
    try:
        arrays = load_arrays(path.read_bytes())
        return str(arrays["made_from"]) == made_from and wanted <= arrays.keys()
    except MemoryError:  # of this machine
        raise
    except Exception:  # a damaged archive raises whatever its parsers raise: zip, zlib, numpy
        return False


def _computed(detector: Detector, data: Dataset, pair: Pair) -> Arrays:
    keys = detector.available_scores()
    image, label = data.read(pair)
    output = detector.observe(image, keys)
    return make_sample(pair.name, image, label, class_map(output), {key: score_map(key, output) for key in keys})


def _detector_of(run: Path, device: str, site: SiteConfig) -> Detector:
    """The run's own checkpoint, from where the run found it."""
    config = read_config(run)
    place = parse_place(config["checkpoint"]["uri"])
    if isinstance(place, Path) and not place.exists():
        raise DataError(
            f"{run}: its checkpoint {place} is not there any more; the matrix needs it: put a copy or a link there, or "
            "draw fewer runs"
        )
    model = parse(ModelConfig, config["model"], source=f"{run}/config.yaml")
    detector = load_place(place, site, device=device, model=model)
    if detector.sha256 != config["checkpoint"]["sha256"]:
        raise DataError(f"{run}: {place} holds other weights than the run evaluated; evaluate again")
    return detector
