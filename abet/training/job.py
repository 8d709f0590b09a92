"""One training job: what is trained on what, checked before anything expensive starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from abet.batching import BatchPlan, plan_batches
from abet.config import Recipe
from abet.data.index import TRAINING_SETS, Dataset, open_dataset
from abet.data.loader import require_valid_pixels
from abet.data.sampling import steps_per_epoch
from abet.distributed import Topology
from abet.errors import UsageError, unknown_name
from abet.training.precision import Arithmetic, choose_arithmetic

Resume = Literal["auto", "never"]


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Everything that a run is made from; `plan_job` checks it."""

    name: str
    """Of the recipe."""
    recipe: Recipe
    run: Path
    """Run directory."""
    train: Dataset
    validation: Dataset
    plan: BatchPlan
    topology: Topology
    arithmetic: Arithmetic
    snapshot: Path | None
    resume: Resume
    allow_topology_change: bool
    skip_corrupt: bool


def plan_job(
    *,
    name: str,
    recipe: Recipe,
    data_root: Path,
    run: Path,
    topology: Topology,
    snapshot: Path | None = None,
    resume: Resume = "auto",
    allow_topology_change: bool = False,
    skip_corrupt: bool = False,
) -> TrainJob:
    """Open the data and check that recipe, data and processes fit together; reads a few labels, writes nothing.

    Raises:
        UsageError: batch sizes that do not add up, a data set with other classes, a precision that is not here.
        DataError: data that are missing, incomplete, fewer than a batch, or without a valid pixel.
    """
    plan = plan_batches(recipe.batch, topology.processes, recipe.training.sync_batch_norm)
    arithmetic = choose_arithmetic(recipe.training.precision, topology.device)
    if recipe.data.dataset not in TRAINING_SETS:
        raise unknown_name(kind="training set (data.dataset)", name=recipe.data.dataset, choices=TRAINING_SETS)
    train = open_dataset(recipe.data.dataset, data_root, recipe.data.train_split)
    validation = open_dataset(recipe.data.dataset, data_root, recipe.data.validation_split)
    _require_classes(recipe, train)
    steps_per_epoch(len(train.pairs), plan)
    require_valid_pixels(train)
    return TrainJob(
        name=name,
        recipe=recipe,
        run=run,
        train=train,
        validation=validation,
        plan=plan,
        topology=topology,
        arithmetic=arithmetic,
        snapshot=snapshot,
        resume=resume,
        allow_topology_change=allow_topology_change,
        skip_corrupt=skip_corrupt,
    )


def _require_classes(recipe: Recipe, data: Dataset) -> None:
    if recipe.model.num_classes != len(data.classes):
        raise UsageError(
            f"model.num_classes {recipe.model.num_classes}: {data.name} has {len(data.classes)} classes; "
            f"--set model.num_classes={len(data.classes)}"
        )
