"""Options that several commands share, and how they are read."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abet.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from abet.data.index import OodDataset
    from abet.detector import Detector
    from abet.site import SiteConfig

CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Checkpoint folder or published .pth. Default: the site file's, else the newest promoted one.",
    ),
]
DatasetOption = Annotated[str, typer.Option("--dataset", help="Name of the data set, e.g. road_anomaly.")]
DataRootOption = Annotated[
    Path | None, typer.Option("--data-root", help="Folder of the data set. Default: the site file's.")
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


def split_names(text: str | None) -> tuple[str, ...]:
    """``a,b`` -> ("a", "b"); ``@list.txt`` reads one name per line. Raises UsageError when the file is missing."""
    if text is None:
        return ()
    if text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise UsageError(f"{text}: no such file (a list of names, one per line)")
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return tuple(part.strip() for part in text.split(",") if part.strip())


def choose_scores(text: str) -> tuple[str, ...]:
    """Score keys in table order. Raises UsageError for an unknown one or an empty choice."""
    from abet.scores import SCORES

    named = tuple(SCORES) if text == "all" else split_names(text)
    check_names("score", named, SCORES)
    if not named:
        raise UsageError(f"--scores {text!r} names no score; the choices are: all, {', '.join(SCORES)}")
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


def choose_checkpoint(given: Path | None, site: "SiteConfig") -> Path:
    """The checkpoint given, else the site's, else the newest promoted one (said aloud)."""
    if given is not None:
        return given
    if site.checkpoint is not None:
        say(f"checkpoint: {site.checkpoint} (site file)")
        return site.checkpoint
    from abet.promote import newest_promoted

    promotion = newest_promoted(site.artifacts)
    say(f"checkpoint: {promotion.checkpoint} (promotion {promotion.number}, sha256 {promotion.sha256[:12]})")
    return promotion.checkpoint


def open_data(dataset: str, data_root: Path | None, split: str | None, site: "SiteConfig") -> "OodDataset":
    """The data set, with its name checked before its root is looked for."""
    from abet.data.index import DATASETS, open_dataset
    from abet.site import data_root as find_root

    check_names("dataset", [dataset], DATASETS)
    return open_dataset(dataset, find_root(site, dataset, data_root), split)


def load(checkpoint: Path, device: str, model: str) -> "Detector":
    """The detector, announced."""
    from abet.detector import load_detector

    detector = load_detector(checkpoint, device=device, model=model)
    head = detector.config.temperature_model
    say(f"loaded {checkpoint} (head: {head}, {detector.config.num_classes} classes, sha256 {detector.sha256[:12]})")
    return detector
