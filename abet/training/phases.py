"""Whether the phases of a run, relaxed and hard labels, first and second fall of the rate, come about within it.

    notes = phase_notes(job.recipe, steps_per_epoch=job.steps_per_epoch)

The reference has one number for both: labels are hard from the epoch after it, the second fall begins with it. Here
they are two keys, and the run may end before either: no error, but hardly ever meant.
"""

from abet.config import Recipe, RelaxedConfig


def describe_phases(recipe: Recipe, *, steps_per_epoch: int) -> str:
    """An epoch's length, and the steps after which it goes on otherwise. Epochs count from 0 in a recipe's keys."""
    after = {
        "boosted places": recipe.sampling.last_boosted_epoch + 1 if recipe.sampling.boost_split else None,
        "relaxed labels": recipe.loss.last_relaxed_epoch + 1 if isinstance(recipe.loss, RelaxedConfig) else None,
        "the first fall of the rate": second.from_epoch if (second := recipe.optimiser.second_phase) else None,
    }
    ends = [f"{what} up to step {epoch * steps_per_epoch}" for what, epoch in after.items() if epoch is not None]
    return "; ".join([f"an epoch has {steps_per_epoch} steps", *ends])


def phase_notes(recipe: Recipe, *, steps_per_epoch: int) -> list[str]:
    """What the log should say of ``loss.last_relaxed_epoch`` and ``optimiser.second_phase.from_epoch``; mostly nothing.

    Silent where the second phase begins with the last relaxed epoch (reference behaviour) or with the first of hard
    labels; with the quirk ``schedule_one_epoch_ahead``, where its key says an epoch more. Epochs count from 0; the last
    one may be cut short.
    """
    assert steps_per_epoch >= 1, steps_per_epoch
    last = (recipe.training.steps - 1) // steps_per_epoch
    relaxed = recipe.loss.last_relaxed_epoch if isinstance(recipe.loss, RelaxedConfig) else None
    second = None if recipe.optimiser.second_phase is None else recipe.optimiser.second_phase.from_epoch
    end = f"the run ends in epoch {last} ({recipe.training.steps} steps, {steps_per_epoch} an epoch)"
    notes = []
    if relaxed is not None and relaxed >= last:
        notes.append(
            f"labels are never hard: loss.last_relaxed_epoch is {relaxed}, and {end}; lower it, or raise training.steps"
        )
    if second is not None and second > last:
        notes.append(
            f"the second phase never begins: optimiser.second_phase.from_epoch is {second}, and {end}; lower it, raise "
            "training.steps, or set optimiser.second_phase=null"
        )
    ahead = int(recipe.reference_quirks.schedule_one_epoch_ahead)
    apart = relaxed is not None and second is not None and not relaxed <= second <= relaxed + 1 + ahead
    if not notes and relaxed is not None and apart:
        notes.append(
            f"the second phase does not go with the hard labels: optimiser.second_phase.from_epoch is {second}, and "
            f"loss.last_relaxed_epoch {relaxed}; give both the same number, as the reference does, or make from_epoch "
            f"{relaxed + 1}"
        )
    return notes
