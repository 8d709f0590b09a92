"""Recipes: complete, typed, and unforgiving of misspelt keys."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from abet.config import Recipe, load_recipe, recipe_names
from abet.errors import UsageError
from abet.settings import dotted_fields, parse, read_yaml


def plain(name: str) -> dict[str, Any]:
    values: dict[str, Any] = load_recipe(name).model_dump(mode="json")
    return values


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "copy.yaml").write_text(yaml.safe_dump(plain(name)))
    assert load_recipe(str(tmp_path / "copy.yaml")) == recipe


def test_every_field_is_explained() -> None:
    fields = dict(dotted_fields(Recipe))
    assert "training.steps" in fields
    assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_leaves_nothing_to_defaults(name: str) -> None:
    with resources.as_file(resources.files("abet") / "recipes" / f"{name}.yaml") as path:
        written = read_yaml(path)
    assert _keys(written) == _keys(plain(name))


def _keys(values: Any, prefix: str = "") -> set[str]:
    if not isinstance(values, dict):
        return {prefix}
    return {key for name, value in values.items() for key in _keys(value, f"{prefix}.{name}")}


def test_a_change_replaces_one_value_and_is_read_as_in_the_file() -> None:
    changes = ["training.steps=7", "batch.accumulation=null", "model.aspp_rates=[1, 2, 3]", "data.train_split=a=b"]
    changed = load_recipe("demo_finetune", changes=changes)
    assert changed.training.steps == 7
    assert changed.model.aspp_rates == (1, 2, 3)
    assert changed.data.train_split == "a=b"
    wanted = plain("demo_finetune")
    wanted["training"]["steps"], wanted["model"]["aspp_rates"], wanted["data"]["train_split"] = 7, [1, 2, 3], "a=b"
    assert changed.model_dump(mode="json") == wanted


DEMO_CHANGES = (
    ("training.steps", r"expected KEY=VALUE"),
    ("training.step=1", r"did you mean 'training\.steps'\?"),
    ("training=1", r"training is a section"),
    ("training.steps=[", r"not readable as YAML"),
    ("training.steps=-1", r"training\.steps: .*greater than or equal to 1"),
    ("training.steps=", r"training\.steps: .*valid integer"),
    ("augmentation.scale_min=9", r"scale_min 9\.0 is above scale_max"),
    ("augmentation.blur_sigma_min=9", r"blur_sigma_min 9\.0 is above blur_sigma_max"),
    ("optimiser.learning_rate=.nan", r"learning_rate"),
    ("loss.kind=focal", r"loss\.kind: .*'cross_entropy', 'image_weighted', 'relaxed' \(found 'focal'\)"),
    ("loss.strict_classes=[1]", r"unknown key 'loss\.strict_classes'.* loss\.kind"),
    ("loss.kind=relaxed", r"loss\.last_relaxed_epoch: Field required"),
    ("optimiser.second_phase.from_epoch=3", r"optimiser\.second_phase\.rescale: Field required"),
    ("sampling.boost_split=train_extra", r"boost_split and boost_classes go together"),
)
FULL_CHANGES = (
    ("loss.strict_classes=[5, 19]", r"loss\.strict_classes: 19 is no train id of 19 classes: .* from 0 to 18"),
    ("sampling.boost_classes=[19, 3, 40]", r"sampling\.boost_classes: 19, 40 is no train id"),
    ("sampling.class_uniform_share=0", r"class_uniform_share of 0 never visits"),
    ("loss.last_relaxed_epoch=null", r"loss\.last_relaxed_epoch: .*valid integer"),
    ("loss.class_weight_bound=-1", r"loss\.class_weight_bound: .*greater than or equal to 0"),
    ("loss.bound=1", r"'loss\.bound'.* The choices are: loss\.kind, loss\.class_weight_bound, [\w., ]*$"),
)


@pytest.mark.parametrize(
    ("recipe", "change", "said"),
    [("demo_finetune", *row) for row in DEMO_CHANGES] + [("cityscapes_finetune", *row) for row in FULL_CHANGES],
)
def test_a_change_that_cannot_be_meant_is_refused(recipe: str, change: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_recipe(recipe, changes=[change])


def test_a_section_that_may_be_null_is_set_to_null_or_key_by_key() -> None:
    assert load_recipe("cityscapes_finetune", changes=["optimiser.second_phase=null"]).optimiser.second_phase is None
    changed = load_recipe("cityscapes_finetune", changes=["optimiser.second_phase.from_epoch=3"]).optimiser
    assert changed.second_phase is not None
    assert changed.second_phase.from_epoch == 3


def test_a_misspelt_key_names_the_nearest() -> None:
    values = plain("demo_finetune")
    values["model"]["trunk"]["blokcs"] = values["model"]["trunk"]["blocks"]
    with pytest.raises(UsageError, match=r"unknown key 'model\.trunk\.blokcs': did you mean 'model\.trunk\.blocks'\?"):
        parse(Recipe, values, source="mine.yaml")


def test_a_compiled_network_recomputes_nothing() -> None:
    changes = ["training.compile=true", "training.activation_checkpointing=true"]
    with pytest.raises(UsageError, match=r"training: compile and activation_checkpointing exclude each other"):
        load_recipe("demo_finetune", changes=changes)


def test_a_key_that_stands_there_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = yaml.safe_dump(plain("demo_finetune"), sort_keys=False).splitlines()
    path.write_text("\n".join([*lines, "  validation_images_dropped: true"]))
    with pytest.raises(UsageError, match=r"(?s)mine\.yaml.*'validation_images_dropped' stands there twice") as caught:
        load_recipe(str(path))
    assert f"line {len(lines) + 1}, column 3" in str(caught.value)


def test_equal_keys_of_different_mappings_and_merged_ones_are_none_too_many(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_text("one: &one {a: 1, b: 2}\ntwo: {<<: *one, a: 3}\n")
    assert read_yaml(path) == {"one": {"a": 1, "b": 2}, "two": {"a": 3, "b": 2}}


def test_an_unknown_recipe_lists_the_choices() -> None:
    with pytest.raises(UsageError, match=r"'demo_finetun'.*'demo_finetune'.*mapillary_pretrain"):
        load_recipe("demo_finetun")


@pytest.mark.parametrize(
    ("text", "said"),
    [("model: [", "not readable as YAML"), ("- 1", "mapping"), ("", "mapping"), (None, "no such file")],
)
def test_an_unreadable_recipe_file_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=f"mine.yaml.*{said}"):
        load_recipe(str(path))


def test_a_recipe_that_is_a_folder_or_no_text_is_a_mistake_of_usage(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "date.yaml").write_text("model: 2024-99-99\n")
    for name, said in (
        ("folder", "is a folder"),
        ("binary", "not readable"),
        ("date", "not readable"),
        ("n" * 300, ""),
    ):
        with pytest.raises(UsageError, match=rf"{name}\.yaml: .*{said}"):
            load_recipe(str(tmp_path / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("name", "base", "keys"),
    [
        ("cityscapes_finetune_plain", "cityscapes_finetune", {"model.temperature_model"}),
        (
            "cityscapes_finetune_batch8",
            "cityscapes_finetune",
            {
                *("batch.global_batch", "batch.batch_per_gpu", "loss.images_summed", "training.steps"),
                *("training.validate_every_steps", "training.checkpoint_every_steps"),
            },
        ),
        ("cityscapes_finetune_one_gpu", "cityscapes_finetune", {"batch.accumulation"}),
        ("mapillary_pretrain_one_gpu", "mapillary_pretrain", {"batch.accumulation"}),
    ],
)
def test_a_variant_differs_from_its_base_in_what_it_is_named_for_alone(name: str, base: str, keys: set[str]) -> None:
    one, other = (dict(_leaves(plain(each))) for each in (name, base))
    assert one.keys() == other.keys()
    assert {key for key in one if one[key] != other[key]} == {"description", *keys}


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
