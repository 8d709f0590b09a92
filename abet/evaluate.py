"""One pass of one model over a data set: every score at full resolution into streaming metric states.

    abet evaluate --checkpoint weights/abet-cityscapes --dataset road_anomaly --output runs/eval

A shard is every N-th image from the I-th on. Its file holds counts alone, so shards add up in any order
(`abet.merge`) to the bytes that one unsharded pass gives.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abet.arithmetic import arithmetic
from abet.counting import Counter, LabelledImage
from abet.data.index import Dataset, Pair
from abet.data.opencv import keep_to_one_thread
from abet.detector import Detector, Map, class_map, score_map
from abet.errors import UsageError
from abet.files import read_json, write_json
from abet.labels import ID, OOD
from abet.memory import readable_memory_errors
from abet.metrics.label_counts import NO_PIXELS, add_labels
from abet.progress import progress
from abet.report.coding import pack
from abet.run import (
    DESCRIPTION,
    Agree,
    evaluation_dir,
    nobody_else,
    open_run,
    provenance,
    refuse_foreign,
    sample_path,
    shard_path,
)
from abet.same_options import same_options
from abet.samples import make_sample, sample_names, shrink, write_sample
from abet.scores import SCORES
from abet.shard_check import checked_shard, differences, whole
from abet.shards import Fingerprint, ShardResult, shard_bytes, write_shard
from abet.storage import Conflict, LocalStorage
from abet.text import counted


def shard_of(pairs: Sequence[Pair], shard: int, shards: int) -> tuple[Pair, ...]:
    """Images of shard ``shard`` (1-based) of ``shards``: every ``shards``-th one.

    Raises:
        UsageError: the shard does not exist, or would be empty.
    """
    if not 1 <= shard <= shards:
        raise UsageError(f"shard {shard}/{shards}: the shards of {shards} are 1/{shards} to {shards}/{shards}")
    if shards > len(pairs):
        raise UsageError(
            f"shard {shard}/{shards}: only {counted(len(pairs), 'image')}; use at most {counted(len(pairs), 'shard')}"
        )
    return tuple(pairs[shard - 1 :: shards])


def estimate_seconds(detector: Detector, pixels: int, keys: Sequence[str]) -> float:
    """Time that ``pixels`` of images with scores ``keys`` will take, from two passes over a small patch.

    The first one warms up. The patch is not larger than the images: a guess is not to take longer than the work.
    """
    patch = np.zeros((256, 512, 3) if pixels >= 256 * 512 else (64, 128, 3), np.uint8)
    detector.output(patch[:64, :64])
    start = time.perf_counter()
    output = detector.observe(patch, keys)
    for key in keys:
        score_map(key, output)
    return (time.perf_counter() - start) * pixels / (patch.shape[0] * patch.shape[1])


def counting_seconds(count: Callable[[Map, NDArray[np.uint8]], object], pixels: int) -> float:
    """Time that ``count``, which takes a score map and its labels, will take for ``pixels`` of maps.

    The patch has blobs of some 16 pixels, about as many above a threshold as a network's map has, and one object.
    """
    keep_to_one_thread()
    import cv2

    height, width = 256, 512
    coarse = np.random.default_rng(0).standard_normal((height // 16, width // 16)).astype(np.float32)
    scores = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    labels = np.full((height, width), ID, np.uint8)
    labels[64:128, 64:192] = OOD
    count(scores[:96, :96], labels[:96, :96])
    start = time.perf_counter()
    count(scores, labels)
    return (time.perf_counter() - start) * pixels / scores.size


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One detector on one data set with the scores to take."""

    detector: Detector
    dataset: Dataset
    scores: tuple[str, ...]
    shards: int = 1
    samples: int = 60
    """How many images keep their maps for the report."""
    data_root: str | None = None
    """Where the data set is kept, if that is not the folder that it is read from."""
    protocols: bool = False
    """Whether to count what the protocols need that read each image by itself."""

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What the shards of this evaluation share, as plain values."""
        return Fingerprint(
            dataset=self.dataset.name,
            split=self.dataset.split,
            images=len(self.dataset.pairs),
            list_sha256=self.dataset.list_sha256(),
            checkpoint_sha256=self.detector.sha256,
            num_classes=self.detector.config.num_classes,
            scores=self.scores,
            shards=self.shards,
            arithmetic=arithmetic(self.detector),
            ood_definition=self.dataset.definition,
            protocols=self.protocols,
            fitted_sha256=self.detector.fitted_sha256(self.scores),
            plugins={key: row.distribution for key in self.scores if (row := SCORES[key]).distribution} or None,
        ).to_json()

    @property
    def run_config(self) -> dict[str, Any]:
        """``config.yaml`` of the run directory."""
        checkpoint = {"uri": self.detector.uri, "sha256": self.detector.sha256}
        return {"checkpoint": checkpoint, "model": self.detector.config.model_dump(mode="json")}

    def find_shard(self, run: Path, shard: int) -> Path | None:
        """The file of a shard that is already there, or None; writes nothing.

        Raises:
            UsageError: ``run`` holds another checkpoint or another evaluation of this data set.
            DamagedShard, ForeignShard: as `abet.shard_check.checked_shard`.
        """
        refuse_foreign(run, self.run_config)
        if self._description(run).exists():
            self._compare(run)
        path = shard_path(run, self.dataset.name, shard, self.shards)
        if not path.exists():
            return None
        checked_shard(path, wanted=whole(self.fingerprint))
        return path

    def run_shard(self, run: Path, shard: int, *, agree: Agree = nobody_else) -> Path:
        """Evaluate shard ``shard`` (1-based) into its file below ``run`` and return the path.

        A shard that is already there is kept. The file appears only when complete. What decides is written, and
        agreed on with whoever else works on the run, before the pass. Raises as `find_shard`, and DataError for an
        image or label that breaks its contract.
        """
        pairs = shard_of(self.dataset.pairs, shard, self.shards)
        if found := self.find_shard(run, shard):
            return found
        self._begin(run, agree)
        path = shard_path(run, self.dataset.name, shard, self.shards)
        write_shard(path, self._count(run, shard, pairs))
        return path

    def mend_shard(self, run: Path, shard: int, *, seen: str, agree: Agree = nobody_else) -> bool:
        """Evaluate a shard again whose file is damaged; returns whether ours stands in its place.

        It replaces the file of the version ``seen`` (`abet.storage.version_of`) alone: a shard that somebody else has
        written since is kept. Raises as `run_shard`, but not for the damage.
        """
        pairs = shard_of(self.dataset.pairs, shard, self.shards)
        refuse_foreign(run, self.run_config)
        self._begin(run, agree)
        path = shard_path(run, self.dataset.name, shard, self.shards)
        content = shard_bytes(self._count(run, shard, pairs))
        try:
            LocalStorage(path.parent).write(path.name, content, expect=seen)
        except Conflict:
            return False
        return True

    def _begin(self, run: Path, agree: Agree) -> None:
        """Write what decides, or compare with what stands there."""
        open_run(run, self.run_config, agree=agree)
        data_root = self.data_root or self.dataset.root.resolve().as_posix()
        description = {**self.fingerprint, "data_root": data_root}
        # Shards may start at the same moment: one of them writes, and all compare with what stands there then
        write_json(self._description(run), {**description, "started": provenance()}, keep_existing=True)
        agree(self._description(run))
        self._compare(run)

    def _description(self, run: Path) -> Path:
        return evaluation_dir(run, self.dataset.name) / DESCRIPTION

    def _compare(self, run: Path) -> None:
        found = read_json(self._description(run))
        changed = differences(found, whole(self.fingerprint))
        if changed:
            raise UsageError(
                f"{self._description(run).parent} holds another evaluation of {self.dataset.name} (different: "
                f"{'; '.join(changed)}): "
                "choose another --output, remove that folder, or evaluate as there:"
                f"{same_options(found, wanted=self.fingerprint, argv=sys.argv)}"
            )

    def _count(self, run: Path, shard: int, pairs: Sequence[Pair]) -> ShardResult:
        missing = {key: reason for key in self.scores if (reason := self.detector.why_missing(key)) is not None}
        defined = [key for key in self.scores if key not in missing]
        device, classes = self.detector.device, self.detector.config.num_classes
        counters = {key: Counter(key, num_classes=classes, device=device, protocols=self.protocols) for key in defined}
        pixels = dict(NO_PIXELS)
        kept = sample_names(self.dataset.pairs, self.samples)
        with progress(f"{self.dataset.name} {shard}/{self.shards}", len(pairs)) as advance:
            for pair in pairs:
                image, label = self.dataset.read(pair)
                pixels = add_labels(pixels, label)
                with readable_memory_errors(f"{pair.name} ({label.shape[1]}x{label.shape[0]} pixels)"):
                    output = self.detector.observe(image, defined)
                    labelled = LabelledImage.of(pair.name, label, device)
                    maps = {key: counter.add(output, labelled) for key, counter in counters.items()}
                if pair.name in kept:
                    shown = {key: raw.cpu().numpy() for key, raw in maps.items()}
                    sample = shrink(make_sample(pair.name, image, label, class_map(output), shown))
                    write_sample(sample_path(run, self.dataset.name, pair.name), pack(sample))
                del output, maps  # of full size: not beside those of the next image
                advance(1)
        return ShardResult(
            fingerprint=self.fingerprint,
            shard=shard,
            images=len(pairs),
            pixels=pixels,
            missing=missing,
            pixel={key: counter.pixel() for key, counter in counters.items()},
            reference={key: state for key, counter in counters.items() if (state := counter.reference()) is not None},
            protocols={key: each for key, counter in counters.items() if (each := counter.protocols()) is not None},
        )
