"""What is said at the start of a run whose phases do not come about, or not together; and of which nothing is."""

import pytest
import torch

from abet.config import Recipe, load_recipe
from abet.losses import make_loss
from abet.optim import learning_rate_at
from abet.training.phases import describe_phases, phase_notes
from tests.training.conftest import Tiny, Zygote

STEPS_PER_EPOCH = 10


def recipe_of(*, last_relaxed: int | None, second_from: int | None, epochs: int) -> Recipe:
    changes = [f"training.steps={epochs * STEPS_PER_EPOCH}"]
    changes += ["loss.kind=cross_entropy" if last_relaxed is None else f"loss.last_relaxed_epoch={last_relaxed}"]
    second = "optimiser.second_phase"
    changes += [f"{second}=null" if second_from is None else f"{second}.from_epoch={second_from}"]
    return load_recipe("cityscapes_finetune", changes=changes)


def said(*, last_relaxed: int | None, second_from: int | None, epochs: int = 8) -> list[str]:
    recipe = recipe_of(last_relaxed=last_relaxed, second_from=second_from, epochs=epochs)
    return phase_notes(recipe, steps_per_epoch=STEPS_PER_EPOCH)


def test_the_log_says_where_phases_end_in_steps() -> None:
    recipe = recipe_of(last_relaxed=4, second_from=5, epochs=8)
    assert describe_phases(recipe, steps_per_epoch=10) == (
        "an epoch has 10 steps; boosted places up to step 1510; relaxed labels up to step 50; the first fall of the "
        "rate up to step 50"
    )
    assert describe_phases(load_recipe("demo_finetune"), steps_per_epoch=75) == "an epoch has 75 steps"


@pytest.mark.parametrize(
    ("name", "images"),
    [
        *[(f"cityscapes_finetune{variant}", 2975) for variant in ("", "_plain", "_batch8", "_one_gpu")],
        *[(f"mapillary_pretrain{variant}", 18_000) for variant in ("", "_one_gpu")],
    ],
)
def test_nothing_is_said_of_a_shipped_recipe(name: str, images: int) -> None:
    recipe = load_recipe(name)
    assert phase_notes(recipe, steps_per_epoch=images // recipe.batch.global_batch) == []


@pytest.mark.parametrize(("last_relaxed", "second_from"), [(4, 4), (4, 5), (6, 7), (4, None), (None, 4), (None, None)])
def test_nothing_is_said_of_phases_that_come_about_together_or_alone(
    last_relaxed: int | None, second_from: int | None
) -> None:
    assert said(last_relaxed=last_relaxed, second_from=second_from) == []


def test_labels_that_are_never_hard_are_noted() -> None:
    (note,) = said(last_relaxed=7, second_from=7)
    assert note == (
        "labels are never hard: loss.last_relaxed_epoch is 7, and the run ends in epoch 7 (80 steps, 10 an epoch); "
        "lower it, or raise training.steps"
    )


def test_a_second_phase_that_never_begins_is_noted() -> None:
    (note,) = said(last_relaxed=None, second_from=8)
    assert note == (
        "the second phase never begins: optimiser.second_phase.from_epoch is 8, and the run ends in epoch 7 (80 steps, "
        "10 an epoch); lower it, raise training.steps, or set optimiser.second_phase=null"
    )


def test_a_run_that_ends_before_either_hears_of_both() -> None:
    never_hard, never_begins = said(last_relaxed=100, second_from=100)
    assert "loss.last_relaxed_epoch is 100" in never_hard
    assert "from_epoch is 100" in never_begins


@pytest.mark.parametrize("second_from", [1, 3, 6, 7])
def test_phases_apart_are_noted(second_from: int) -> None:
    (note,) = said(last_relaxed=4, second_from=second_from)
    assert f"from_epoch is {second_from}, and loss.last_relaxed_epoch 4; give both the same number" in note


def test_a_schedule_an_epoch_ahead_may_say_an_epoch_more() -> None:
    recipe = recipe_of(last_relaxed=4, second_from=6, epochs=8)
    quirk = recipe.reference_quirks.model_copy(update={"schedule_one_epoch_ahead": True})
    assert phase_notes(recipe, steps_per_epoch=STEPS_PER_EPOCH) != []
    ahead = recipe.model_copy(update={"reference_quirks": quirk})
    assert phase_notes(ahead, steps_per_epoch=STEPS_PER_EPOCH) == []


def test_a_last_epoch_that_is_cut_short_is_an_epoch() -> None:
    recipe = recipe_of(last_relaxed=7, second_from=8, epochs=8)
    longer = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 81})})
    assert len(phase_notes(recipe, steps_per_epoch=STEPS_PER_EPOCH)) == 2
    assert phase_notes(longer, steps_per_epoch=STEPS_PER_EPOCH) == []


@pytest.mark.parametrize("epochs", [3, 4, 5])
def test_what_is_said_is_what_loss_and_rate_do(epochs: int) -> None:
    recipe, without = (recipe_of(last_relaxed=3, second_from=second, epochs=epochs) for second in (4, None))
    notes = " ".join(phase_notes(recipe, steps_per_epoch=STEPS_PER_EPOCH))
    steps = range(recipe.training.steps)

    def rates(of: Recipe) -> list[float]:
        options = {"steps": len(steps), "steps_per_epoch": STEPS_PER_EPOCH}
        return [learning_rate_at(step, of.optimiser, **options) for step in steps]

    assert ("never begins" in notes) == (rates(recipe) == rates(without))
    loss = make_loss(recipe.loss, recipe.reference_quirks, recipe.model.num_classes)
    logits = torch.randn(1, 19, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64, dtype=torch.uint8).view(1, 8, 8) % 3
    last, at_the_very_end = (loss(logits, labels, epoch) for epoch in (steps[-1] // STEPS_PER_EPOCH, 1000))
    assert ("never hard" in notes) == (last != at_the_very_end)


def test_it_is_said_at_the_start_and_kept_with_the_run(zygote: Zygote, uniform: Tiny) -> None:
    arguments = uniform.arguments("apart", "--set", "training.steps=1")
    result = zygote.train(*arguments)
    assert result["codes"] == [0], result["log"]
    assert "labels are never hard: loss.last_relaxed_epoch is 0" in result["log"]
    assert "the second phase never begins" in (uniform.runs / "apart" / "run.json").read_text()
