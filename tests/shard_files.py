"""Shards of an evaluation that no network computed: every image has random scores."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.reference import ReferenceState
from abet.run import CONFIG, shard_path
from abet.shards import Fingerprint, ShardResult, write_shard

SHA256 = "a" * 64
SCORES = ("msp", "energy")


def result(
    images: Sequence[int], shard: int, shards: int, *, total: int, protocols: bool = False, **changed: object
) -> ShardResult:
    """Counts of so many of ``total`` images, each of which is a function of its number."""
    pixels = dict.fromkeys(("id", "ood", "void"), 0)
    states: dict[str, list[tuple[PixelState, ReferenceState, ProtocolState]]] = {key: [] for key in SCORES}
    for number in images:
        rng = np.random.default_rng(number)
        labels = rng.choice(np.array([ID, OOD, VOID], np.uint8), (9, 13))
        for name, value in (("id", ID), ("ood", OOD), ("void", VOID)):
            pixels[name] += int((labels == value).sum())
        for key in SCORES:
            scores = rng.random(labels.shape, np.float32).round(int(rng.integers(1, 4)))
            of_image = ProtocolState.count(f"{number}", scores, labels)
            states[key].append((PixelState.count(scores, labels), ReferenceState.count(scores, labels), of_image))
    fingerprint = Fingerprint(
        dataset="road_anomaly",
        split="test",
        images=total,
        list_sha256="b" * 64,
        checkpoint_sha256=SHA256,
        num_classes=19,
        scores=SCORES,
        shards=shards,
        arithmetic="none",
        protocols=protocols,
    )
    return ShardResult(
        fingerprint={**fingerprint.to_json(), **changed},
        shard=shard,
        images=len(images),
        pixels=pixels,
        missing={},
        pixel={key: PixelState.merge(*(each[0] for each in found)) for key, found in states.items()},
        reference={"msp": ReferenceState.merge(*(each[1] for each in states["msp"]))},
        protocols={
            key: ProtocolState.merge(*(each[2] for each in found)) for key, found in states.items() if protocols
        },
    )


def begin(run: Path) -> Path:
    """A run that shards can be written into."""
    run.mkdir(parents=True)
    (run / CONFIG).write_text(yaml.safe_dump({"checkpoint": {"uri": "weights/some", "sha256": SHA256}}))
    return run


def put(run: Path, shards: int, *numbers: int, total: int = 8, **changed: object) -> None:
    """Write some of ``shards`` shards of ``total`` images."""
    for number in numbers:
        images = range(number - 1, total, shards)
        write_shard(
            shard_path(run, "road_anomaly", number, shards), result(images, number, shards, total=total, **changed)
        )


def noticed_flips(path: Path, bits: Iterable[int], read: Callable[[Path], object], damaged: type[Exception]) -> int:
    """How many of these single bits of a file make ``read`` raise ``damaged``; with any other it must give the same."""
    written, whole = path.read_bytes(), read(path)
    noticed = 0
    for bit in bits:
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert read(path) == whole, bit
        except damaged:
            noticed += 1
    return noticed
