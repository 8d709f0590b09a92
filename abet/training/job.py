"""One training job: what is trained on what, checked before anything expensive starts."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from abet.batching import BatchPlan, plan_batches
from abet.config import Recipe
from abet.data.index import Dataset, open_dataset
from abet.data.loader import require_valid_pixels
from abet.data.registry import TRAINING_SETS
from abet.data.sampling import steps_per_epoch
from abet.distributed import Topology
from abet.errors import UsageError, unknown_name
from abet.places import Place, S3Uri
from abet.site import SiteConfig
from abet.training.copying import Copier
from abet.training.data import shared_images
from abet.training.identity import Identity
from abet.training.precision import Arithmetic, choose_arithmetic
from abet.training.sampling import CENTROIDS, Sampling, open_sampling, require_classes
from abet.training.work_folder import work_root

Resume = Literal["auto", "never"]


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Everything that a run is made from; `plan_job` checks it."""

    name: str
    """Of the recipe."""
    recipe: Recipe
    output: Place
    """Where the run is kept."""
    run: Path
    """The run directory that is worked in: ``output`` itself when that is a folder."""
    data_root: Place
    """Where the data come from; a copy of them when that is in S3 is read from ``train.root``."""
    train: Dataset
    validation: Dataset
    sampling: Sampling
    plan: BatchPlan
    topology: Topology
    arithmetic: Arithmetic
    snapshot: Place | None
    from_nothing: bool
    """Whether all layers are to be drawn anew though the recipe starts from a trunk."""
    resume: Resume
    allow_topology_change: bool
    skip_corrupt: bool
    site: SiteConfig
    copier: Copier | None = None
    """What copies the run to S3, on rank 0, once it is opened."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps after which the next epoch's list begins."""
        return steps_per_epoch(self.sampling.lists.length, self.plan)

    @property
    def identity(self) -> Identity:
        """What makes the run the run that it is."""
        return Identity.of(
            self.recipe,
            training_list_sha256=self.train.list_sha256(),
            validation_list_sha256=self.validation.list_sha256(),
            epoch_lists_sha256=self.sampling.sha256(),
            processes=self.topology.processes,
            device=self.topology.device,
        )


def require_trainable(recipe: Recipe, topology: Topology) -> tuple[BatchPlan, Arithmetic]:
    """What can be told before the processes meet and data are fetched.

    Raises:
        UsageError: batch sizes that do not add up, no training set, a precision that is not here.
    """
    plan = plan_batches(recipe.batch, topology.processes, recipe.training.sync_batch_norm)
    arithmetic = choose_arithmetic(recipe.training.precision, topology.device)
    if recipe.data.dataset not in TRAINING_SETS:
        raise unknown_name(kind="training set (data.dataset)", name=recipe.data.dataset, choices=TRAINING_SETS)
    return plan, arithmetic


def plan_job(
    *,
    name: str,
    recipe: Recipe,
    data_root: Place,
    root: Path,
    output: Place,
    topology: Topology,
    site: SiteConfig,
    snapshot: Place | None = None,
    from_nothing: bool = False,
    resume: Resume = "auto",
    allow_topology_change: bool = False,
    skip_corrupt: bool = False,
    readers: int = 1,
) -> TrainJob:
    """Open the data and check that recipe, data and processes fit together.

    Reads a few labels; with class-uniform sampling all of them, unless their places lie in the cache below the site's
    scratch, which is all that is written.

    ``root`` is where what lies at ``data_root`` can be read here; ``readers`` processes read labels side by side.

    Raises:
        UsageError: as `require_trainable`; a data set with other classes.
        DataError: data that are missing, incomplete, fewer than a batch, or without a valid pixel.
    """
    plan, arithmetic = require_trainable(recipe, topology)
    train = open_dataset(recipe.data.dataset, root, recipe.data.train_split)
    validation = open_dataset(recipe.data.dataset, root, recipe.data.validation_split)
    require_classes(recipe, train)
    require_valid_pixels(train)
    if recipe.reference_quirks.validation_images_dropped and topology.processes > len(validation.pairs):
        raise UsageError(
            f"reference_quirks.validation_images_dropped: {topology.processes} processes would leave out all "
            f"{len(validation.pairs)} validation images; set it to false, or use fewer processes"
        )
    sampling = open_sampling(recipe, train, root=root, folder=site.scratch_folder / CENTROIDS, processes=readers)
    sampling = replace(sampling, notes=(*sampling.notes, *shared_images(recipe, train, validation, sampling.boosted)))
    steps_per_epoch(sampling.lists.length, plan)
    return TrainJob(
        name=name,
        recipe=recipe,
        output=output,
        run=work_root(output, site) if isinstance(output, S3Uri) else output,
        data_root=data_root,
        train=train,
        validation=validation,
        sampling=sampling,
        plan=plan,
        topology=topology,
        arithmetic=arithmetic,
        snapshot=snapshot,
        from_nothing=from_nothing,
        resume=resume,
        allow_topology_change=allow_topology_change,
        skip_corrupt=skip_corrupt,
        site=site,
    )
