"""``calibration.json`` of a checkpoint: thresholds by name, for each data set it was calibrated on. No torch import.

    abet calibrate --checkpoint runs/finetune --dataset lost_and_found --split train
    abet predict --checkpoint runs/finetune --threshold f1-pixel ...

The file lies with the checkpoint (`abet.companions`) and names the SHA-256 of its weights. Sets are kept side by side;
calibrating on one again replaces what was there of it.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from abet import companions
from abet.data.registry import named_definition
from abet.errors import DataError, UsageError, unknown_name
from abet.files import json_text, parse_json
from abet.metrics.operating import NAMES
from abet.places import Place, parse_place
from abet.site import S3Settings
from abet.storage import Conflict

FILE: Final = "calibration.json"
TRIES: Final = 20
"""How often a set is added again to what others have written meanwhile."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Interval(_Record):
    """A value with its 95% interval over images."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Point(_Record):
    """One threshold in raw score units; null with a reason where the set defines none."""

    threshold: Interval | None
    reason: str | None = None
    note: str | None = None
    """What to bear in mind when using it."""


class MinimumPixels(_Record):
    """Smaller components were left out."""

    prediction: int = Field(ge=0)
    object: int = Field(ge=0)


class CalibratedSet(_Record):
    """What was chosen on one data set."""

    dataset: str
    split: str
    ood_definition: str | None = None
    """By which its labels were read; None: the usual one, which older files do not name, or the only one."""
    images: int
    minimum_pixels: MinimumPixels
    tested_on: bool
    """Whether papers test on this split: figures on it are then measured where the threshold was chosen."""
    fitted_sha256: str | None = None
    """Of the fitted file that decided what the scores were, where one did."""
    scores: dict[str, dict[str, Point]]


class _Checkpoint(_Record):
    uri: str
    sha256: str


class _Calibration(_Record):
    schema_: Literal[1] = Field(alias="schema")
    checkpoint: _Checkpoint
    sets: dict[str, CalibratedSet]


class ChosenThreshold(NamedTuple):
    """A threshold that a calibration found."""

    value: float
    """Raw score units: pixels at or above it are OOD."""
    name: str
    dataset: str
    split: str
    minimum_pixels: int
    """Of predicted components, as in the calibration."""
    tested_on: bool
    note: str | None = None
    ood_definition: str | None = None
    """As in `CalibratedSet`."""


def definition_words(dataset: str, definition: str | None) -> str:
    """How a remark goes on from the split of a calibrated set: ``, definition road``; nothing where the set has one."""
    named = named_definition(dataset, definition)
    return f", definition {named}" if named else ""


def threshold_of(
    uri: str,
    sha256: str,
    name: str,
    score: str,
    s3: S3Settings,
    *,
    dataset: str | None = None,
    fitted_sha256: str | None = None,
) -> ChosenThreshold:
    """The threshold ``name`` of ``score``, from the calibration of the checkpoint at ``uri`` with these weights.

    ``dataset`` is needed where there are several; ``fitted_sha256`` is of what the score is fitted by, if it is.

    Raises:
        UsageError: there is no calibration, or none for these weights, this set or this score; says what to run.
        DataError: the file is damaged.
    """
    place = parse_place(uri)
    remedy = f"`abet calibrate --checkpoint {place} --dataset NAME` makes one"
    content = companions.read(place, FILE, s3)
    if content is None:
        raise UsageError(f"--threshold {name}: {place} has no calibration; {remedy}")
    found = _parse(content, companions.companion(place, FILE))
    if found.checkpoint.sha256 != sha256:
        raise UsageError(
            f"--threshold {name}: the calibration of {place} is of other weights (sha256 "
            f"{found.checkpoint.sha256[:12]}, not {sha256[:12]}); {remedy}"
        )
    chosen = found.sets[_choose_set(found.sets, dataset, place)]
    point = chosen.scores.get(score, {}).get(name)
    if point is None:
        more = ",".join([*chosen.scores, score])
        raise UsageError(
            f"--threshold {name}: score {score!r} is not calibrated on {chosen.dataset} (there: "
            f"{', '.join(chosen.scores)}); `{_again(place, chosen)} --scores {more}` does it"
        )
    if fitted_sha256 not in (None, chosen.fitted_sha256):
        raise UsageError(
            f"--threshold {name}: score {score!r} was fitted anew since it was calibrated on {chosen.dataset}; "
            f"calibrate again: `{_again(place, chosen)}`"
        )
    if point.threshold is None or point.threshold.value is None:
        raise UsageError(
            f"--threshold {name}: {chosen.dataset} defines none for score {score!r}: {point.reason}; choose another of "
            f"{', '.join(NAMES)}, or calibrate on another set"
        )
    return ChosenThreshold(
        value=point.threshold.value,
        name=name,
        dataset=chosen.dataset,
        split=chosen.split,
        minimum_pixels=chosen.minimum_pixels.prediction,
        tested_on=chosen.tested_on,
        note=point.note,
        ood_definition=chosen.ood_definition,
    )


def _again(place: Place, chosen: CalibratedSet) -> str:
    definition = f" --ood-definition {chosen.ood_definition}" if chosen.ood_definition else ""
    return f"abet calibrate --checkpoint {place} --dataset {chosen.dataset} --split {chosen.split}{definition}"


def _choose_set(sets: Mapping[str, CalibratedSet], dataset: str | None, place: Place) -> str:
    if dataset is not None:
        if dataset not in sets:
            raise UsageError(
                f"{unknown_name(kind='calibration', name=dataset, choices=sets)}; `abet calibrate --checkpoint "
                f"{place} --dataset {dataset}` makes it"
            )
        return dataset
    if len(sets) != 1:
        raise UsageError(f"{place} is calibrated on {', '.join(sets)}: choose one with --calibration")
    return next(iter(sets))


def store(uri: str, sha256: str, calibrated: Mapping[str, Any], s3: S3Settings) -> tuple[Place, list[str]]:
    """Keep ``calibrated``, as plain values, beside what stands there of other sets; returns the file and remarks.

    Several processes may do so at the same time, each with a set of its own: all are kept.

    Raises:
        DataError: what stands there is damaged.
        Conflict: others write there all the time.
    """
    place = parse_place(uri)
    for _ in range(TRIES):
        there, version = companions.read_versioned(place, FILE, s3)
        content, notes = _with(calibrated, there, uri, sha256, companions.companion(place, FILE))
        try:
            return companions.write(place, FILE, content, s3, expect=version), notes
        except Conflict:
            continue
    raise Conflict(
        f"{companions.companion(place, FILE)}: others write it all the time; let them end, then run this again"
    )


def _with(
    calibrated: Mapping[str, Any], content: bytes | None, uri: str, sha256: str, source: Place
) -> tuple[bytes, list[str]]:
    """The file's new content from the old one, and remarks."""
    sets: dict[str, Any] = {}
    notes = []
    if content is not None:
        there = _parse(content, source)
        if there.checkpoint.sha256 == sha256:
            sets = dict(parse_json(content, source=FILE)["sets"])
        else:
            notes.append(f"the calibration of other weights (sha256 {there.checkpoint.sha256[:12]}) was replaced")
    name = calibrated["dataset"]
    if name in sets:
        notes.append(_replaced(sets.pop(name), calibrated))
    whole = {"schema": 1, "checkpoint": {"uri": uri, "sha256": sha256}, "sets": {**sets, name: dict(calibrated)}}
    return json_text(whole).encode(), notes


def _replaced(before: Mapping[str, Any], calibrated: Mapping[str, Any]) -> str:
    name = before["dataset"]
    old, new = (named_definition(name, each.get("ood_definition")) for each in (before, calibrated))
    of = f"{before['split']}{definition_words(name, old)}: {', '.join(before['scores'])}"
    other = f", which was of another definition than {new}" if old != new else ""
    return f"replaced what was calibrated on {name} ({of}){other}"


def require_sound(uri: str, s3: S3Settings) -> None:
    """Raises DataError where a damaged file stands in the place of a new one: asked for before hours of work."""
    place = parse_place(uri)
    if (content := companions.read(place, FILE, s3)) is not None:
        _parse(content, companions.companion(place, FILE))


def _parse(content: bytes, source: Place) -> _Calibration:
    try:
        values = parse_json(content, source=source)
    except DataError:
        raise DataError(f"{source}: damaged JSON; remove it, and calibrate again") from None
    try:
        found = _Calibration.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{source}: not a calibration: {where}: {first['msg']}; remove it, and calibrate again"
        ) from None
    if not found.sets:
        raise DataError(f"{source}: holds no set; remove it, and calibrate again")
    return found
