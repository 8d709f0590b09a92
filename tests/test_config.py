"""Recipes: complete, typed, and unforgiving of misspelt keys."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from abet.config import Recipe, load_recipe, parse, read_yaml, recipe_names
from abet.errors import UsageError


def plain(name: str) -> dict[str, Any]:
    values: dict[str, Any] = load_recipe(name).model_dump(mode="json")
    return values


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "copy.yaml").write_text(yaml.safe_dump(plain(name)))
    assert load_recipe(str(tmp_path / "copy.yaml")) == recipe


def test_every_field_is_explained() -> None:
    from abet.config import ModelConfig, TrunkConfig

    for kind in (ModelConfig, TrunkConfig):
        unexplained = [n for n, f in kind.model_fields.items() if not f.description and n != "trunk"]
        assert unexplained == []


def test_a_misspelt_key_names_the_nearest() -> None:
    values = plain("small")
    values["model"]["trunk"]["blokcs"] = values["model"]["trunk"]["blocks"]
    with pytest.raises(UsageError, match=r"unknown key 'model\.trunk\.blokcs': did you mean 'model\.trunk\.blocks'\?"):
        parse(Recipe, values, source="mine.yaml")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("num_classes", 0, "greater than or equal to 1"),
        ("num_classes", "many", "valid integer"),
        ("num_classes", "19", "valid integer"),
        ("num_classes", True, "valid integer"),
        ("aspp_rates", [1, 2, True], "valid integer"),
        ("temperature_model", "learnt", "'none', 'baseline' or 'learned'"),
        ("aspp_rates", [1, 2], "Field required"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(key: str, value: Any, said: str) -> None:
    values = plain("small")
    values["model"][key] = value
    with pytest.raises(UsageError, match=rf"mine\.yaml: model\.{key}.*{said}"):
        parse(Recipe, values, source="mine.yaml")


def test_a_trunk_has_six_stages() -> None:
    values = plain("small")
    values["model"]["trunk"]["blocks"] = [1, 1]
    with pytest.raises(UsageError) as caught:
        parse(Recipe, values, source="mine.yaml")
    rule = "channels and blocks need one entry for each of the six stages mod2..mod7"
    assert str(caught.value) == f"mine.yaml: model.trunk: {rule}"


def test_a_key_that_stands_there_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = yaml.safe_dump(plain("small"), sort_keys=False).splitlines()
    path.write_text("\n".join([*lines, "  num_classes: 7"]))
    with pytest.raises(UsageError, match=r"(?s)mine\.yaml.*'num_classes' stands there twice") as caught:
        load_recipe(str(path))
    assert f"line {len(lines) + 1}, column 3" in str(caught.value)


def test_equal_keys_of_different_mappings_and_merged_ones_are_none_too_many(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_text("one: &one {a: 1, b: 2}\ntwo: {<<: *one, a: 3}\n")
    assert read_yaml(path) == {"one": {"a": 1, "b": 2}, "two": {"a": 3, "b": 2}}


def test_an_unknown_recipe_lists_the_choices() -> None:
    with pytest.raises(UsageError, match=r"'smal'.*'small'.*wideresnet38"):
        load_recipe("smal")


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
