"""The second pass of an evaluation: components at the threshold that the first pass found.

    abet components runs/eval --dataset road_anomaly --shard 3/8

The maps are computed again, by the same weights, images and arithmetic, so that nothing of full size is ever stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abet.component_shards import (
    DESCRIPTION,
    FORMAT,
    ComponentShard,
    read_component_shard,
    read_description,
    read_metrics,
    write_component_shard,
)
from abet.data.index import Pair
from abet.data.opencv import keep_to_one_thread
from abet.detector import score_map
from abet.errors import UsageError
from abet.evaluate import Evaluation, shard_of
from abet.files import write_json
from abet.memory import readable_memory_errors
from abet.metrics import smiyc
from abet.metrics.components import SIZES, ComponentState
from abet.metrics.keys import Scores
from abet.metrics.pixel import Labels
from abet.progress import progress
from abet.run import (
    Agree,
    component_name,
    evaluation_dir,
    nobody_else,
    provenance,
    read_evaluation,
    require_network,
)
from abet.scores import SCORES
from abet.shard_check import all_differences, differences
from abet.thresholds import best_f1_threshold, disagreements, with_thresholds

NOT_COMPARED = ("scores", "shards", "protocols", "format")
"""Of an evaluation's fingerprint, what the second pass may choose for itself."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What a run says of one data set that was evaluated into it."""

    run: Path
    metrics: dict[str, Any]
    description: dict[str, Any]
    """Of ``evaluation.json``."""

    @property
    def folder(self) -> Path:
        """Where its files stand."""
        return evaluation_dir(self.run, str(self.metrics["dataset"]))

    def choose(self, scores: Sequence[str] | None) -> tuple[str, ...]:
        """Those of ``scores`` (None: all) that have a threshold, or of which the set defines none.

        Raises:
            UsageError: one was not evaluated, or the head does not define it, or its package is gone.
        """
        entries = self.metrics["scores"]
        counted = with_thresholds(self.metrics)
        for key in scores or ():
            if key not in counted:
                reason = entries.get(key, {}).get("reason", "it was not evaluated")
                raise UsageError(f"score {key!r} has no components here: {reason}. There are: {', '.join(counted)}")
        chosen = tuple(key for key in counted if scores is None or key in scores)
        if gone := [key for key in chosen if key not in SCORES]:
            package = (self.description.get("plugins") or {}).get(gone[0], "another version of abet")
            left = ",".join(key for key in counted if key in SCORES)
            raise UsageError(
                f"score {gone[0]!r} is of {package}, which is not installed here: install it"
                + (f", or choose others with --scores {left}" if left else "")
            )
        return chosen


def read_evaluated(run: Path, dataset: str) -> Evaluated:
    """What was evaluated of ``dataset``, merged and with protocols.

    Raises:
        UsageError: it is not merged, without protocols, or of controls; says what to run.
        DataError: a file is damaged.
    """
    folder = evaluation_dir(run, dataset)
    if not (folder / "metrics.json").exists():
        raise UsageError(
            f"{folder}: no metrics.json, which holds the thresholds: `abet evaluate --protocols --dataset {dataset} "
            f"--output {run}`, and with shards `abet merge {run} --dataset {dataset}`, make it"
        )
    metrics = read_metrics(folder)
    uri = metrics["checkpoint"]["uri"]
    require_network(uri, run, purpose="there is nothing to evaluate again")
    if not with_thresholds(metrics):
        raise UsageError(
            f"{folder / 'metrics.json'}: no {smiyc.PROTOCOL}, whose best F1 is the threshold for components. "
            f"`abet evaluate --protocols --checkpoint {uri} --dataset {dataset} --output NEW` makes it, in another run"
        )
    return Evaluated(run=run, metrics=metrics, description=read_evaluation(run, dataset))


@dataclass(frozen=True, kw_only=True)
class ComponentPass:
    """A second pass over what was evaluated."""

    evaluation: Evaluation
    """Detector, images, scores, and into how many shards this pass is split."""
    evaluated: Evaluated
    track: str
    """Key of `SIZES`."""

    def __post_init__(self) -> None:
        """Raises UsageError where detector, images or arithmetic are not those of the first pass."""
        wanted = {key: value for key, value in self.evaluation.fingerprint.items() if key not in NOT_COMPARED}
        found = dict(self.evaluated.description)
        if plugins := wanted.get("plugins"):  # this pass may take fewer scores
            found["plugins"] = {key: name for key, name in (found.get("plugins") or {}).items() if key in plugins}
        if changed := differences(found, {"ood_definition": None, **wanted}):
            raise UsageError(
                f"{self.evaluated.folder} was evaluated otherwise (different: {'; '.join(changed)}): count "
                "components with the same --images, --limit and --threads, on a machine of that kind, with that abet"
            )

    @property
    def thresholds(self) -> Mapping[str, float | None]:
        """By score, in raw score units."""
        return {key: best_f1_threshold(self.evaluated.metrics, key) for key in self.evaluation.scores}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the shards of this pass share, as plain values."""
        shared = {key: value for key, value in self.evaluation.fingerprint.items() if key != "protocols"}
        sizes = SIZES[self.track]._asdict()
        return {
            **shared,
            "format": FORMAT,
            "track": self.track,
            "minimum_pixels": sizes,
            "thresholds": dict(self.thresholds),
        }

    def find_shard(self, shard: int) -> Path | None:
        """The file of a shard that is already there, or None; writes nothing.

        Raises:
            UsageError: the run holds components of another pass, or for figures that have changed since; says what
                to remove.
            DataError: the shard is damaged.
        """
        if (self.evaluated.folder / DESCRIPTION).exists():
            self._compare()
        path = self.shard_path(shard)
        if not path.exists():
            return None
        found = read_component_shard(path)
        if changed := all_differences(
            {**found.fingerprint, "shard": found.shard}, {**self.fingerprint, "shard": shard}
        ):
            raise UsageError(
                f"{path} is of another pass (different: {'; '.join(changed)}): remove it, or count as there"
            )
        return path

    def shard_path(self, shard: int) -> Path:
        """Where the file of a shard stands."""
        return self.evaluated.folder / component_name(shard, self.evaluation.shards)

    def run_shard(self, shard: int, *, agree: Agree = nobody_else) -> Path:
        """Count shard ``shard`` (1-based) into its file and return the path; one that is there is kept.

        What decides is written, and agreed on with whoever else works on the run, before the pass. Raises as
        `find_shard`, and DataError for an image or label that breaks its contract.
        """
        pairs = shard_of(self.evaluation.dataset.pairs, shard, self.evaluation.shards)
        found = self.find_shard(shard)
        self.begin(agree=agree)
        if found:
            return found
        states = self._count(pairs, shard)
        result = ComponentShard(fingerprint=self.fingerprint, shard=shard, images=len(pairs), states=states)
        write_component_shard(self.shard_path(shard), result)
        return self.shard_path(shard)

    def begin(self, *, agree: Agree = nobody_else) -> None:
        """Write what the shards are of, or compare with what stands there: without it no shard of the run counts.

        Raises UsageError as `find_shard`.
        """
        description = self.evaluated.folder / DESCRIPTION
        write_json(description, {**self.fingerprint, "started": provenance()}, keep_existing=True)
        agree(description)
        self._compare()

    def _compare(self) -> None:
        path = self.evaluated.folder / DESCRIPTION
        found = {key: value for key, value in read_description(path.parent).items() if key != "started"}
        stale = disagreements(found, self.evaluated.metrics)
        changed = stale or all_differences(found, self.fingerprint)
        if changed:
            raise UsageError(
                f"{path} is of {'figures that have changed since' if stale else 'another pass'} (different: "
                f"{'; '.join(changed)}): remove it with the components-*.npz beside it, or count as there"
            )

    def count_map(self, scores: Scores, labels: Labels) -> ComponentState:
        """What is counted of one map, at a threshold as good as any: to be timed beforehand."""
        threshold = float(np.quantile(scores, 0.9))
        return ComponentState.count(scores, labels, threshold=threshold, sizes=SIZES[self.track])

    def _count(self, pairs: Sequence[Pair], shard: int) -> dict[str, ComponentState]:
        keep_to_one_thread()
        sizes = SIZES[self.track]
        thresholds = {key: value for key, value in self.thresholds.items() if value is not None}
        states = {key: ComponentState.empty(threshold=value, sizes=sizes) for key, value in thresholds.items()}
        dataset, detector = self.evaluation.dataset, self.evaluation.detector
        with progress(f"{dataset.name} components {shard}/{self.evaluation.shards}", len(pairs)) as advance:
            for pair in pairs:
                image, label = dataset.read(pair)
                with readable_memory_errors(f"{pair.name} ({label.shape[1]}x{label.shape[0]} pixels)"):
                    output = detector.observe(image, tuple(thresholds))
                    for key, value in thresholds.items():
                        found = ComponentState.count(score_map(key, output), label, threshold=value, sizes=sizes)
                        states[key] = ComponentState.merge(states[key], found)
                del output  # of full size, and the next image's comes first
                advance(1)
        return states
