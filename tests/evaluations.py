"""Whole evaluations of small networks, shard by shard."""

from pathlib import Path
from typing import Any

from abet.data.index import Dataset
from abet.detector import Detector
from abet.evaluate import Evaluation
from abet.merge import merge

ALL = ("abet", "energy", "entropy", "msp", "max_logit", "godin", "max_cosine")


def evaluate(detector: Detector, dataset: Dataset, run: Path, *, shards: int = 1, **options: Any) -> dict[str, Any]:
    options = {"scores": ALL, **options}
    evaluation = Evaluation(detector=detector, dataset=dataset, shards=shards, **options)
    for shard in reversed(range(1, shards + 1)):
        evaluation.run_shard(run, shard)
    return merge(run, dataset.name)
