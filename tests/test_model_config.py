"""The network of a recipe: a trunk of one of several kinds, a head, and numbers that can be meant."""

from typing import Any

import pytest

from abet.config import Recipe, load_recipe
from abet.errors import UsageError
from abet.settings import parse


def plain() -> dict[str, Any]:
    values: dict[str, Any] = load_recipe("demo_finetune").model_dump(mode="json")
    return values


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
    values = plain()
    values["model"][key] = value
    with pytest.raises(UsageError, match=rf"mine\.yaml: model\.{key}.*{said}"):
        parse(Recipe, values, source="mine.yaml")


def test_a_trunk_has_six_stages() -> None:
    values = plain()
    values["model"]["trunk"]["blocks"] = [1, 1]
    with pytest.raises(UsageError) as caught:
        parse(Recipe, values, source="mine.yaml")
    rule = "channels, blocks and dropout need one entry for each of the six stages mod2..mod7"
    assert str(caught.value) == f"mine.yaml: model.trunk: {rule}"


def test_a_trunk_is_a_choice_by_kind() -> None:
    assert load_recipe("demo_finetune", changes=["model.trunk.kind=resnet50"]).model.trunk.model_dump() == {
        "kind": "resnet50"
    }
    changes = ["model.trunk.kind=wider_resnet", "model.trunk.stem_channels=3"]
    assert load_recipe("demo_finetune", changes=changes).model.trunk.model_dump()["stem_channels"] == 3
    values = plain()
    del values["model"]["trunk"]["kind"]
    assert parse(Recipe, values, source="older.yaml") == load_recipe("demo_finetune")


@pytest.mark.parametrize(
    ("trunk", "said"),
    [
        (
            {"kind": "resnet18"},
            "model.trunk.kind: Input should be one of 'wider_resnet', 'resnet50', 'resnet101' (found 'resnet18')",
        ),
        (
            {"kind": "resnet50", "blocks": [1]},
            "unknown key 'model.trunk.blocks': did you mean 'model.trunk.kind'? The choices are: model.trunk.kind",
        ),
        ({"kind": "wider_resnet", "channels": [], "blocks": []}, "model.trunk.stem_channels: Field required"),
        (7, "model.trunk: Input should be a valid dictionary or object to extract fields from (found 7)"),
    ],
)
def test_a_wrong_trunk_is_named_as_the_file_has_it(trunk: Any, said: str) -> None:
    values = plain()
    values["model"]["trunk"] = trunk
    with pytest.raises(UsageError) as caught:
        parse(Recipe, values, source="mine.yaml")
    assert str(caught.value) == f"mine.yaml: {said}"
