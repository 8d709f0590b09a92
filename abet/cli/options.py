"""Options that several commands share, and how they are read."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from abet.errors import CheckpointError, UsageError, unknown_name
from abet.labels import CITYSCAPES, MAPILLARY
from abet.names import OOD_NAMES, TRAINING_NAMES
from abet.places import Place, S3Uri, parse_place

if TYPE_CHECKING:
    from abet.data.index import Dataset
    from abet.detector import Detector
    from abet.site import S3Settings, SiteConfig

TEMPORARY_NAME_BYTES = 32
"""By so much the name of a file is longer while it is written (`abet.files.atomic_path`)."""

CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="PLACE",
        help="Checkpoint, run or published .pth; also s3://. Default: the site file's, else the newest promoted.",
    ),
]
DatasetOption = Annotated[str, typer.Option("--dataset", help="Name of the data set, e.g. road_anomaly.")]
DefinitionOption = Annotated[
    str | None,
    typer.Option(
        "--ood-definition",
        help="What counts as ID, OOD and void, where conventions differ: `abet data info SET`. Default: the first.",
    ),
]
DataRootOption = Annotated[
    str | None,
    typer.Option("--data-root", metavar="PLACE", help="Folder of the data set, or s3://. Default: the site file's."),
]
EvaluatedRootOption = Annotated[
    str | None,
    typer.Option(
        "--data-root", metavar="PLACE", help="Folder of the data set, or s3://. Default: where the run read it."
    ),
]
ScoresOption = Annotated[str, typer.Option("--scores", help="Comma-separated score keys (see `abet scores`), or all.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
ModelOption = Annotated[
    str, typer.Option("--model", help="Recipe with the trunk's widths and depths, for a .pth (which does not say).")
]


def say(*lines: str) -> None:
    """Print for people, on stderr; stdout is kept for results."""
    for line in lines:
        typer.echo(line, err=True)


def split_names(text: str | None, *, what: str = "image") -> tuple[str, ...]:
    """``a,b`` -> ("a", "b"); ``@list.txt`` reads one name per line; None, an option not given, -> ().

    Raises:
        UsageError: no name at all (an empty shell variable must not mean everything), or an unreadable list.
    """
    if text is None:
        return ()
    parts = _lines_of(text) if text.startswith("@") else text.split(",")
    names = tuple(part.strip() for part in parts if part.strip())
    if not names:
        raise UsageError(f"{text!r} names no {what} (an empty variable?): name at least one, or leave the option out")
    return names


def _lines_of(text: str) -> list[str]:
    try:
        return Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        reason = "no such file"
    except IsADirectoryError:
        reason = "this is a folder" if text != "@" else "no file named"
    except UnicodeDecodeError:
        reason = "not a text file in UTF-8"
    except OSError as error:
        reason = f"not readable: {error.strerror or error}"
    raise UsageError(f"{text}: {reason}; expected @FILE, a list of names, one per line")


def place_of(text: str | None) -> Place | None:
    """The place that an option names; None for one that is not given. (As a Path, typer would lose a slash of s3://.)

    Raises:
        UsageError: as `abet.places.parse_place`.
    """
    return None if text is None else parse_place(text)


def folder_of(option: str, text: str, *, remedy: str) -> Path:
    """The path that an option names which must be on this machine. Raises UsageError, with a remedy, for s3://."""
    place = parse_place(text)
    if isinstance(place, S3Uri):
        raise UsageError(f"{option} {place}: a path of this machine is needed; {remedy}")
    return place


def require_output(place: Place, *, kind: Literal["file", "folder"], s3: "S3Settings | None" = None) -> None:
    """Whether ``place`` can be written as one file, or as a folder of results: asked before any work.

    Nothing is made on this machine. In S3, a tiny object is written and removed: only that shows whether we may.

    Raises:
        UsageError: it is there as something else, its name is too long, or its place is a file or not writable.
        StorageUnavailable: S3 did not answer.
    """
    if isinstance(place, Path):
        _require_path(place, kind)
        return
    from abet.storage import open_storage, require_writable

    assert s3 is not None, "an option that takes s3:// knows the site's settings"
    require_writable(open_storage(place.parent if kind == "file" else place, s3))


def _require_path(path: Path, kind: Literal["file", "folder"]) -> None:
    there = os.path.lexists(path)
    if there:
        _require_kind(path, kind)
    # Results replace a file whole, so it is its folder that must be writable
    place = path if there and kind == "folder" else _nearest_existing(path.parent)
    if not place.is_dir():
        raise UsageError(f"{path} cannot be written: {place} is not a folder; choose another output")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(
            f"{path} cannot be written: no permission to write in {place.absolute()}; choose another output"
        )
    longest = os.pathconf(place, "PC_NAME_MAX") - TEMPORARY_NAME_BYTES
    for part in path.relative_to(place).parts:
        if len(os.fsencode(part)) > longest:
            raise UsageError(f"{path} cannot be written: a name longer than {longest} bytes; choose a shorter one")


def _require_kind(path: Path, kind: Literal["file", "folder"]) -> None:
    if not path.exists():
        raise UsageError(f"{path} is a link to nothing: choose another output, or remove the link")
    if kind == "file" and path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
    if kind == "folder" and not path.is_dir():
        raise UsageError(f"{path} is a file: a folder is needed here; choose another output")
    if kind == "file" and not path.is_file():
        raise UsageError(f"{path} is no ordinary file, and would be replaced by one: give the name of a file")


def _nearest_existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents, Path()) if os.path.lexists(place))


def choose_scores(text: str) -> tuple[str, ...]:
    """Score keys in table order. Raises UsageError for an unknown one or an empty choice."""
    from abet.scores import SCORES

    named = tuple(SCORES) if text == "all" else split_names(text, what="score")
    check_names("score", named, SCORES)
    return tuple(key for key in SCORES if key in named)


def check_names(kind: str, names: Iterable[str], choices: Iterable[str]) -> None:
    """Raises UsageError for the first of ``names`` that is not among ``choices``."""
    options = list(choices)
    for name in names:
        if name not in options:
            raise unknown_name(kind=kind, name=name, choices=options)


def parse_shard(text: str) -> tuple[int, int]:
    """``3/8`` -> (3, 8). Raises UsageError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text!r}: expected I/N with 1 <= I <= N, for example 3/8")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class ChosenCheckpoint:
    """The checkpoint to use, with the SHA-256 that its weights had when they were promoted (None: not promoted)."""

    place: Place
    sha256: str | None = None


def choose_checkpoint(given: Place | None, site: "SiteConfig", num_classes: int = len(CITYSCAPES)) -> ChosenCheckpoint:
    """The checkpoint given, else the site's, else the newest promoted one of ``num_classes`` classes (said aloud)."""
    if given is not None:
        return ChosenCheckpoint(given)
    if site.checkpoint is not None:
        say(f"checkpoint: {site.checkpoint} (site file)")
        return ChosenCheckpoint(site.checkpoint)
    from abet.promote import newest_promoted

    promotion = newest_promoted(site, num_classes)
    say(f"checkpoint: {promotion.checkpoint} (promotion {promotion.number}, sha256 {promotion.sha256[:12]})")
    return ChosenCheckpoint(promotion.checkpoint, promotion.sha256)


def require_ood_set(name: str) -> None:
    """Raises UsageError unless ``name`` is a data set that can be evaluated: a training set has no OOD pixels."""
    if name in TRAINING_NAMES:
        raise UsageError(
            f"--dataset {name}: a training set, its labels know no OOD pixels. The choices are: {', '.join(OOD_NAMES)}"
        )
    check_names("dataset", [name], OOD_NAMES)


def open_data(
    dataset: str, root: Place, split: str | None, site: "SiteConfig", *, definition: str | None = None
) -> "Dataset":
    """The data set below ``root``; one in S3 is copied to this machine first, unless it is here already."""
    from abet.data.index import open_dataset
    from abet.staging import stage

    return open_dataset(dataset, stage(root, site, what=dataset), split, definition=definition)


def load(checkpoint: ChosenCheckpoint, device: str, model: str, site: "SiteConfig") -> "Detector":
    """The detector, announced; a checkpoint in S3 is copied to this machine first, and keeps its name.

    Raises:
        CheckpointError: other weights than the promoted ones are there by now.
    """
    from abet.detector import load_place

    place = checkpoint.place
    detector = load_place(place, site, device=device, model=model)
    require_promoted(checkpoint, detector.sha256)
    announce_detector(place, detector)
    return detector


def with_fitted(detector: "Detector", keys: Sequence[str], site: "SiteConfig", *, named: bool) -> "Detector":
    """The detector with what `abet fit` left beside its checkpoint, where a score needs it.

    Raises:
        UsageError: a score that was asked for by its name is not fitted.
        CheckpointError: what is there is damaged, or was fitted for other weights.
    """
    from abet.scores import SCORES, missing

    detector = detector.with_fitted(keys, site.s3)
    for key in keys if named and detector.fitted is None else ():
        if SCORES[key].fitted and missing(SCORES[key], detector.config.temperature_model) is None:
            training = {len(CITYSCAPES): "cityscapes", len(MAPILLARY): "mapillary"}
            dataset = training.get(detector.config.num_classes, "NAME")
            raise UsageError(
                f"score {key!r} is not fitted for these weights: abet fit --checkpoint "
                f"{shlex.quote(detector.uri)} --dataset {dataset}"
            )
    return detector


def require_promoted(checkpoint: ChosenCheckpoint, sha256: str) -> None:
    """Raises CheckpointError unless the weights found, with ``sha256``, are those that were promoted, if any were."""
    if checkpoint.sha256 not in (None, sha256):
        raise CheckpointError(
            f"{checkpoint.place}: sha256 {checkpoint.sha256} was promoted, but the weights there now have "
            f"{sha256}: `abet checkpoint promote {checkpoint.place}` if you mean these"
        )


def announce_detector(place: Place, detector: "Detector") -> None:
    """Say what was loaded."""
    head, classes = detector.config.temperature_model, detector.config.num_classes
    folder = detector.uri.rpartition("/")[2]
    step = f"{folder}, " if folder.startswith("step-") and not str(place).endswith(folder) else ""
    say(f"loaded {place} ({step}head: {head}, {classes} classes, sha256 {detector.sha256[:12]})")
