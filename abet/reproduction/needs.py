"""What a reproduction needs and whether it is there, asked of everything before anything is evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from abet.data.index import open_dataset
from abet.data.registry import OOD_SETS
from abet.detector import read_weights
from abet.errors import AbetError, CheckpointError, DataError, UsageError
from abet.labels import CITYSCAPES
from abet.mirror import mirrored
from abet.places import Place
from abet.remote import local_checkpoint
from abet.report.records import Metrics
from abet.report.runs import load_run
from abet.reproduction.table import Role, TableSet
from abet.run import CONFIG, evaluation_config
from abet.site import SiteConfig, find_site_file
from abet.storage import open_storage


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One of the two networks."""

    title: str
    option: str
    names: tuple[str, ...]
    """What it may be called in the site's folder of weights."""
    head: str
    """Temperature model."""
    row: str
    """Of the table in docs/weights.md."""


CHECKPOINTS: Final[Mapping[Role, Wanted]] = {
    "abet": Wanted(
        title="AbeT's network",
        option="--abet-checkpoint",
        names=("abet-cityscapes",),
        head="learned",
        row="AbeT, fine-tuned on Cityscapes",
    ),
    "plain": Wanted(
        title="NVIDIA's plain network",
        option="--plain-checkpoint",
        names=("nvidia-cityscapes", "cityscapes_best.pth"),
        head="none",
        row="NVIDIA's plain DeepLabV3+ on Cityscapes",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One thing that is not there, or is and cannot be used."""

    what: str
    broken: AbetError | None = None
    """What is wrong with a thing that was named or is there; None: there is none."""

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, kw_only=True)
class Network:
    """A checkpoint that can be evaluated."""

    place: Place
    sha256: str


def find_network(role: Role, given: Place | None, site: SiteConfig, model: str) -> Network | Missing:
    """The checkpoint given, else the one in the site's folder of weights, read in full: a damaged one is found here."""
    wanted = CHECKPOINTS[role]
    there = [site.weights / name for name in wanted.names if (site.weights / name).exists()]
    place = given or next(iter(there), None)
    if place is None:
        names = " or ".join(str(site.weights / name) for name in wanted.names)
        return Missing(
            what=f"{wanted.title}: no {names}, and no {wanted.option}; where to get it: docs/weights.md, {wanted.row!r}"
        )
    try:
        weights = read_weights(local_checkpoint(place, site), model=model)
        _require_kind(role, place, weights.model.temperature_model, weights.model.num_classes, weights.contents)
    except DataError as error:
        return Missing(what=f"{wanted.title}: {error}", broken=error)
    return Network(place=place, sha256=weights.sha256)


def _require_kind(role: Role, place: Place, head: str, classes: int, contents: str) -> None:
    wanted = CHECKPOINTS[role]
    if contents != "model" or head != wanted.head or classes != len(CITYSCAPES):
        raise CheckpointError(
            f"{place}: a {contents} with head {head!r} and {classes} classes; {wanted.option} takes a model with head "
            f"{wanted.head!r} and {len(CITYSCAPES)} classes (docs/weights.md, {wanted.row!r})"
        )


def find_data(name: str, wanted: TableSet, given: Place | None, site: SiteConfig) -> Place | Missing:
    """The root given, else the site's, if it holds the set; one in S3 is only asked whether it holds anything."""
    root = given or site.data.get(name)
    spec = OOD_SETS[name]
    source = f"where to get it: {', '.join(spec.downloads)} ({spec.page}); `abet data info {name}` says more"
    if root is None:
        site_file = find_site_file() or "a site file (`abet init`)"
        return Missing(what=f"{name}: no --data-root {name}=PLACE, and no `data:` for it in {site_file}; {source}")
    try:
        if isinstance(root, Path):
            open_dataset(name, root, wanted.split)
        elif not open_storage(root, site.s3).list():
            raise UsageError(f"{root} holds no file")
    except (DataError, UsageError) as error:
        return Missing(what=f"{name}: {error}; {source}", broken=error)
    return root


def read_finished(
    run: Place, sets: Mapping[str, TableSet], network: Network | None, site: SiteConfig
) -> Mapping[str, Metrics]:
    """Data set -> what was measured of it in a run, for those of ``sets`` that are finished there.

    Raises:
        UsageError: the run is of other weights than the network's, or read a set otherwise than the table.
        DataError: a file of it is damaged.
    """
    with mirrored(run, site) as mirror:
        files = {f"evaluation/{name}/{file}" for name in sets for file in ("metrics.json", "curves.json")}
        mirror.pull(({CONFIG, f"evaluation/{CONFIG}"} | files).__contains__)
        known = evaluation_config(mirror.folder).is_file()
        if not known or not any((mirror.folder / file).is_file() for file in files if file.endswith("metrics.json")):
            return {}
        results = load_run(mirror.folder, place=run)
    if network is not None and results.checkpoint.sha256 != network.sha256:
        raise UsageError(
            f"{run} holds figures of other weights ({results.checkpoint.uri}, sha256 {results.checkpoint.sha256[:12]}) "
            f"than {network.place} ({network.sha256[:12]}): choose another --output"
        )
    found = {name: data.metrics for name, data in results.datasets.items() if name in sets}
    for name, metrics in found.items():
        if metrics.split != sets[name].split or metrics.ood_definition is not None:
            definition = f", definition {metrics.ood_definition}" if metrics.ood_definition else ""
            raise UsageError(
                f"{run} holds figures of {name} ({metrics.split}{definition}), and the table is of its split "
                f"{sets[name].split} as it is read by default: choose another --output"
            )
    return found


def require(missing: Sequence[Missing], *, partial: bool) -> None:
    """Raises, naming everything at once, unless nothing is missing, or nothing but what ``partial`` does without.

    Raises:
        DataError: something that is there cannot be used.
        UsageError: something is not there.
    """
    broken = [entry for entry in missing if entry.broken is not None]
    if not (broken if partial else missing):
        return
    remedy = "" if partial or broken else "\n--partial evaluates what is there"
    text = "\n".join(f"  {entry}" for entry in (broken if partial else missing))
    kind = DataError if any(isinstance(entry.broken, DataError) for entry in broken) else UsageError
    raise kind(f"nothing was evaluated, since this is missing or cannot be used:\n{text}{remedy}")


def given_roots(texts: Iterable[str], sets: Iterable[str]) -> dict[str, str]:
    """``SET=PLACE`` by set. Raises UsageError for another form, a set that the table has not, or one named twice."""
    found: dict[str, str] = {}
    choices = list(sets)
    for text in texts:
        name, equals, place = text.partition("=")
        if not equals or name not in choices or not place:
            raise UsageError(f"--data-root {text!r}: expected SET=PLACE with SET one of {', '.join(choices)}")
        if name in found:
            raise UsageError(f"--data-root: {name} is named twice")
        found[name] = place
    return found
