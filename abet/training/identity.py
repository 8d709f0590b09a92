"""What makes a run the run that it is, and what may differ between its start and a resume.

for warning in require_resumable(state.identity, identity, allow_topology_change=False):
    print(warning)
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import torch
from pydantic import Field

from abet.config import Recipe
from abet.errors import UsageError
from abet.settings import Strict
from abet.text import printable

MAY_CHANGE: Final = (
    "description",
    "data.workers_per_process",
    "training.activation_checkpointing",
    "training.log_every_steps",
    "training.validate_every_steps",
    "training.checkpoint_every_steps",
    "training.keep_last",
    "training.target_miou",
)
"""The recipe's keys that may change on resume: none of them changes a weight (on a CPU not by a bit)."""
MICRO_BATCH: Final = "batch.batch_per_gpu"
TOPOLOGY: Final = (
    *("processes", "threads", "device"),
    *(MICRO_BATCH, "batch.accumulation", "training.compile"),
)
"""What may change with ``--allow-topology-change``: the same data in the same order, but other sums.

Rounding differs, also between fused kernels and those that run one by one (which drop other channels, too); so do the
statistics of a batch where they are not synchronised over processes. With a key of `MIXING` another micro-batch is more
than that, and is said to be.
"""
MIXING: Final = {
    "loss.batch_statistics": "image_weighted",
    "reference_quirks.border_weights_of_whole_batch": "relaxed",
}
"""Keys by which a loss of that kind is one of the crops of a micro-batch together, whose number is part of it."""
NOTES: Final = {
    "training_list_sha256": " (the training images or their labels)",
    "validation_list_sha256": " (the validation images or their labels)",
    "epoch_lists_sha256": " (the places that crops are taken around, or the images they lie in)",
}
"""What stands behind keys that do not say it themselves."""
ABSENT: Final = "(absent)"
"""Stands for the value of a key that one of two recipes does not have."""

Change = tuple[str, Any, Any]
"""Key, old value, new value."""


class Identity(Strict):
    """What makes a run the run that it is: with all of it equal, a resume ends in the same bits."""

    recipe: dict[str, Any] = Field(description="Recipe.model_dump(mode='json'): a dump, so that old ones stay legible")
    training_list_sha256: str = Field(description="`Dataset.list_sha256()` of what is trained on")
    validation_list_sha256: str
    epoch_lists_sha256: str = Field(description="`Sampling.sha256()`: what the epochs' lists of crops follow from")
    processes: int = Field(ge=1)
    threads: int = Field(ge=1, description="torch.get_num_threads() of each process: sums depend on it on a CPU")
    device: str = Field(description="kind of device: cpu or cuda")
    torch_version: str

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        *,
        training_list_sha256: str,
        validation_list_sha256: str,
        epoch_lists_sha256: str,
        processes: int,
        device: torch.device,
    ) -> "Identity":
        """The identity of the run that this process takes part in."""
        return cls(
            recipe=recipe.model_dump(mode="json"),
            training_list_sha256=training_list_sha256,
            validation_list_sha256=validation_list_sha256,
            epoch_lists_sha256=epoch_lists_sha256,
            processes=processes,
            threads=torch.get_num_threads(),
            device=device.type,
            torch_version=str(torch.__version__),
        )


def changed_fields(old: Identity, new: Identity) -> list[Change]:
    """(key, old value, new value) of all that differs: recipe keys dotted, as for --set, then the identity's own."""
    before, after = _leaves(old.recipe), _leaves(new.recipe)
    before |= {name: value for name, value in old if name != "recipe"}
    after |= {name: value for name, value in new if name != "recipe"}
    keys = [*before, *(key for key in after if key not in before)]
    pairs = [(key, before.get(key, ABSENT), after.get(key, ABSENT)) for key in keys]
    return [(key, was, now) for key, was, now in pairs if was != now]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def require_resumable(old: Identity, new: Identity, *, allow_topology_change: bool) -> list[str]:
    """Compare the identity in a checkpoint with the one of this start; returns warnings for the log.

    Raises:
        UsageError: something changed that makes it another run; names each key, both values and the remedies.
    """
    changes = [change for change in changed_fields(old, new) if change[0] not in MAY_CHANGE]
    topology = [change for change in changes if change[0] in TOPOLOGY]
    other = [change for change in changes if change[0] not in (*TOPOLOGY, "torch_version")]
    refused = other if allow_topology_change else [*other, *topology]
    objective = _other_objective(changes, new)
    if refused:
        said = _refusal(refused, topology=[change for change in refused if change[0] in TOPOLOGY])
        raise UsageError(". ".join([said, *objective]))
    warnings = []
    if topology:
        warnings.append(
            f"{_shown(topology)}: the order of the data stays the same, but the result is no longer bit-identical to "
            f"that of an uninterrupted run{_other_statistics(old, new)}"
        )
    warnings += objective
    if old.torch_version != new.torch_version:
        warnings.append(
            f"torch was {old.torch_version} and is {new.torch_version}: the result may differ in its last bits"
        )
    return warnings


def _other_statistics(old: Identity, new: Identity) -> str:
    """What batch normalisation makes of it."""
    before, after = (_normalised_together(each) for each in (old, new))
    return "" if before == after else f"; batch normalisation is over {after} crops at a time, no longer over {before}"


def _normalised_together(identity: Identity) -> int:
    recipe = _leaves(identity.recipe)
    return int(recipe[MICRO_BATCH]) * (identity.processes if recipe["training.sync_batch_norm"] else 1)


def _other_objective(changes: list[Change], new: Identity) -> list[str]:
    """What is to be said, in either case, of another micro-batch where that is part of what is minimised."""
    if MICRO_BATCH not in [key for key, _, _ in changes]:
        return []
    recipe = _leaves(new.recipe)
    mixing = [key for key, kind in MIXING.items() if recipe.get("loss.kind") == kind and recipe.get(key)]
    return [
        f"With {key} true the loss is one of the crops of a micro-batch together, so another {MICRO_BATCH} is another "
        "objective, not another topology alone: the steps after the change minimise something else"
        for key in mixing
    ]


def _refusal(changes: list[Change], *, topology: list[Change]) -> str:
    back = [f"--set {key}={json.dumps(was)}" for key, was, _ in changes if "." in key and was != ABSENT]
    shown = f" ({printable(' '.join(back), limit=400)})" if back else ""
    keys = ", ".join(key for key, _, _ in topology)
    elsewhere = f", or for {keys} pass --allow-topology-change (the data keeps its order)" if topology else ""
    return (
        f"changed since the run began: {_shown(changes)}; set it back{shown}, or start another run from these weights: "
        f"a new --output with --snapshot{elsewhere}"
    )


def _shown(changes: list[Change]) -> str:
    return "; ".join(
        f"{key}{NOTES.get(key, '')} was {_short(key, was)} and is {_short(key, now)}" for key, was, now in changes
    )


def _short(key: str, value: Any) -> str:
    return str(value)[:12] if key in NOTES else printable(json.dumps(value))
