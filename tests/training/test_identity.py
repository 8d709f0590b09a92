"""What may change when a run is resumed, and what is refused with both values and a way out."""

from typing import Any

import pytest

from abet.config import Recipe
from abet.errors import UsageError
from abet.settings import dotted_fields
from abet.training.identity import MAY_CHANGE, TOPOLOGY, Identity, changed_fields, require_resumable
from tests.training.states import identity

OTHER = {
    "processes": 2,
    "threads": 4,
    "device": "cuda",
    "training_list_sha256": "c" * 64,
    "validation_list_sha256": "c" * 64,
    "epoch_lists_sha256": "c" * 64,
    "torch_version": "2.14.0",
}


def other(**values: Any) -> Identity:
    return identity().model_copy(update=values)


def another(value: Any) -> Any:
    """Something else that JSON can hold."""
    return [*value, 1] if isinstance(value, list) else f"{value}x" if isinstance(value, str) else (value or 0) + 1


def with_key(key: str) -> Identity:
    recipe = identity().model_dump()["recipe"]
    section = recipe
    *path, name = key.split(".")
    for part in path:
        section = section[part]
    section[name] = another(section[name])
    return other(recipe=recipe)


def _has(key: str) -> bool:
    """Whether the recipe has the key: not where its section is null, or of another kind."""
    section: Any = identity().recipe
    for part in key.split("."):
        if not isinstance(section, dict) or part not in section:
            return False
        section = section[part]
    return True


KEYS = [name for name, _ in dotted_fields(Recipe) if _has(name)]


def test_the_same_run_may_go_on_without_a_word() -> None:
    assert changed_fields(identity(), identity()) == []
    assert require_resumable(identity(), identity(), allow_topology_change=False) == []


def test_the_lists_name_keys_that_there_are() -> None:
    assert set(MAY_CHANGE) <= set(KEYS)
    assert set(TOPOLOGY) <= set(KEYS) | set(Identity.model_fields)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_recipe_is_compared(key: str) -> None:
    changed = with_key(key)
    assert [name for name, _, _ in changed_fields(identity(), changed)] == [key]
    if key in MAY_CHANGE:
        assert require_resumable(identity(), changed, allow_topology_change=False) == []
        return
    with pytest.raises(UsageError, match=rf"changed since the run began: {key} was .* and is .*--set {key}="):
        require_resumable(identity(), changed, allow_topology_change=False)
    if key not in TOPOLOGY:
        with pytest.raises(UsageError, match=key):
            require_resumable(identity(), changed, allow_topology_change=True)


def test_every_change_is_named_with_values_and_remedies() -> None:
    changed = identity("training.seed=1", "optimiser.learning_rate=0.2")
    with pytest.raises(UsageError) as caught:
        require_resumable(identity(), changed, allow_topology_change=False)
    assert str(caught.value) == (
        "changed since the run began: optimiser.learning_rate was 0.1 and is 0.2; training.seed was 0 and is 1; set it "
        "back (--set optimiser.learning_rate=0.1 --set training.seed=0), or start another run from these weights: a "
        "new --output with --snapshot"
    )


@pytest.mark.parametrize("name", ["processes", "threads", "device"])
def test_another_topology_is_refused_unless_allowed_and_then_said(name: str) -> None:
    changed = other(**{name: OTHER[name]})
    with pytest.raises(UsageError, match=f"{name} was .*for {name} pass --allow-topology-change"):
        require_resumable(identity(), changed, allow_topology_change=False)
    (warning,) = require_resumable(identity(), changed, allow_topology_change=True)
    assert name in warning
    assert "order of the data stays the same" in warning
    assert "no longer bit-identical" in warning
    assert ("batch normalisation is over" in warning) == (name in ("processes", "batch.batch_per_gpu"))


def test_other_processes_may_split_the_same_batch_otherwise() -> None:
    changed = identity("batch.batch_per_gpu=4", "batch.accumulation=1").model_copy(update={"processes": 2})
    assert len(require_resumable(identity(), changed, allow_topology_change=True)) == 1


IMAGE_WEIGHTED = ("loss.kind=image_weighted", "loss.class_weight_bound=1", "loss.images_summed=2")
RELAXED = (
    *("loss.kind=relaxed", "loss.class_weight_bound=1", "loss.images_summed=2"),
    *("loss.strict_classes=[]", "loss.last_relaxed_epoch=0"),
)
BATCH_STATISTICS, BORDER_WEIGHTS = "loss.batch_statistics", "reference_quirks.border_weights_of_whole_batch"


@pytest.mark.parametrize(
    ("key", "loss"), [(BATCH_STATISTICS, IMAGE_WEIGHTED), (BORDER_WEIGHTS, RELAXED)], ids=["statistics", "border"]
)
def test_where_a_loss_is_of_a_whole_micro_batch_another_one_is_another_objective(
    key: str, loss: tuple[str, ...]
) -> None:
    mixed = (*loss, f"{key}=true")
    old, new = (identity(*mixed, f"batch.batch_per_gpu={crops}") for crops in (2, 4))
    with pytest.raises(UsageError) as caught:
        require_resumable(old, new, allow_topology_change=False)
    for said in (
        *("batch.batch_per_gpu was 2 and is 4", "--set batch.batch_per_gpu=2", "--allow-topology-change"),
        *(f"With {key} true the loss is one of the crops of a micro-batch together", "another objective"),
    ):
        assert said in str(caught.value)
    topology, objective = require_resumable(old, new, allow_topology_change=True)
    assert "order of the data stays the same" in topology
    assert objective.startswith(f"With {key} true")


@pytest.mark.parametrize(
    "settings",
    [
        (*IMAGE_WEIGHTED, f"{BATCH_STATISTICS}=false"),
        RELAXED,
        # a switch of the relaxed loss, which changes nothing of another one
        (*IMAGE_WEIGHTED, f"{BATCH_STATISTICS}=false", f"{BORDER_WEIGHTS}=true"),
        (f"{BORDER_WEIGHTS}=true",),
    ],
    ids=["crop by crop", "relaxed", "image-weighted with the other's switch", "cross-entropy with it"],
)
def test_where_a_loss_is_a_sum_over_crops_the_micro_batch_is_topology_alone(settings: tuple[str, ...]) -> None:
    old, new = (identity(*settings, f"batch.batch_per_gpu={crops}") for crops in (2, 4))
    with pytest.raises(UsageError) as caught:
        require_resumable(old, new, allow_topology_change=False)
    assert str(caught.value).endswith("pass --allow-topology-change (the data keeps its order)")
    assert len(require_resumable(old, new, allow_topology_change=True)) == 1


def test_the_same_micro_batch_on_more_processes_is_the_same_objective() -> None:
    mixed = (*RELAXED, f"{BORDER_WEIGHTS}=true")
    changed = identity(*mixed, "batch.accumulation=1").model_copy(update={"processes": 2})
    (warning,) = require_resumable(identity(*mixed, "batch.accumulation=2"), changed, allow_topology_change=True)
    assert "objective" not in warning


@pytest.mark.parametrize("name", ["training_list_sha256", "validation_list_sha256", "epoch_lists_sha256"])
@pytest.mark.parametrize("allowed", [False, True])
def test_other_images_are_another_run(name: str, allowed: bool) -> None:
    with pytest.raises(UsageError, match=rf"{name} \(the (\w+ )*(images|places).*--snapshot$"):
        require_resumable(identity(), other(**{name: OTHER[name]}), allow_topology_change=allowed)


def test_another_torch_is_a_warning() -> None:
    (warning,) = require_resumable(identity(), other(torch_version="2.14.0"), allow_topology_change=False)
    assert "2.13.0" in warning
    assert "2.14.0" in warning


def test_every_field_is_compared() -> None:
    names = {name for name, _, _ in changed_fields(identity(), other(**OTHER))}
    assert names == set(Identity.model_fields) - {"recipe"}


def test_a_key_of_another_version_is_named() -> None:
    recipe = identity().recipe
    older = other(recipe={key: value for key, value in recipe.items() if key != "optimiser"})
    assert ("optimiser.momentum", "(absent)", 0.9) in changed_fields(older, identity())
    assert ("optimiser.momentum", 0.9, "(absent)") in changed_fields(identity(), older)
    with pytest.raises(UsageError) as caught:
        require_resumable(older, identity(), allow_topology_change=False)
    assert "--set" not in str(caught.value)  # what was absent cannot be set back
