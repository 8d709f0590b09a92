"""Typed, frozen configuration. A recipe in ``abet/recipes/`` is one complete YAML file; nothing is inherited.

abet show-config wideresnet38
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from abet.errors import UsageError, unknown_name

Positive = Annotated[int, Field(ge=1, strict=True)]
TemperatureModel = Literal["none", "baseline", "learned"]


class Strict(BaseModel):
    """Frozen, and a key that no field has is an error: a misspelt option never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrunkConfig(Strict):
    """The residual trunk, WiderResNet38-A2's family (Wu et al. 2016, arXiv 1611.10080; in-place ABN's A2 layout)."""

    stem_channels: Positive = Field(description="channels of mod1, the 3x3 convolution at full resolution")
    channels: tuple[tuple[Positive, ...], ...] = Field(
        description="per stage mod2..mod7 the channels of a block: two (3x3, 3x3) or three (1x1, 3x3, 1x1) convolutions"
    )
    blocks: tuple[Positive, ...] = Field(description="per stage mod2..mod7 the number of residual blocks")

    @model_validator(mode="after")
    def _six_stages(self) -> "TrunkConfig":
        if len(self.channels) != 6 or len(self.blocks) != 6:
            raise ValueError("channels and blocks need one entry for each of the six stages mod2..mod7")
        if any(len(stage) not in (2, 3) for stage in self.channels):
            raise ValueError("a stage's channels are two (plain block) or three (bottleneck) numbers")
        return self


class ModelConfig(Strict):
    """DeepLabV3+ with one of the reference's three heads."""

    trunk: TrunkConfig
    num_classes: Positive = Field(description="classes that the head tells apart (Cityscapes 19, Mapillary 65)")
    temperature_model: TemperatureModel = Field(
        description="none: 1x1 classifier; baseline: biased 1x1, temperature 1; learned: cosine and temperature"
    )
    aspp_channels: Positive = Field(description="channels of each of the five ASPP branches")
    aspp_rates: tuple[Positive, Positive, Positive] = Field(
        description="dilations of the three 3x3 ASPP branches, stride 8"
    )
    skip_channels: Positive = Field(description="channels kept of mod2's output for the decoder")
    decoder_channels: Positive = Field(description="channels of the decoder and of the penultimate features")


class Recipe(Strict):
    """One complete job description."""

    model: ModelConfig


_T = TypeVar("_T", bound=Strict)


def parse(kind: type[_T], values: Any, *, source: str) -> _T:
    """Validate ``values`` into ``kind``; an error names the key, the rule and where the value came from.

    Raises:
        UsageError: for a wrong value; a misspelt key names the nearest one.
    """
    if not isinstance(values, dict):
        raise UsageError(f"{source}: expected a mapping of keys to values, found {type(values).__name__}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{source}: " + "; ".join(_explain(kind, dict(e)) for e in error.errors())) from None


def _explain(kind: type[BaseModel], error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    if error["type"] != "extra_forbidden":
        whole = error["type"] == "missing" or isinstance(error["input"], dict)  # the mapping around the fault
        shown = "" if whole else f" (found {error['input']!r})"
        return f"{'.'.join(location) or 'value'}: {error['msg'].removeprefix('Value error, ')}{shown}"
    for part in location[:-1]:
        annotation = kind.model_fields[part].annotation
        assert isinstance(annotation, type), location
        assert issubclass(annotation, BaseModel), location
        kind = annotation
    return str(unknown_name(kind="key", name=".".join(location), choices=_dotted(kind, location[:-1])))


def _dotted(kind: type[BaseModel], prefix: list[str]) -> list[str]:
    return [".".join([*prefix, name]) for name in kind.model_fields]


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's rule that the keys of a mapping differ, which PyYAML does not enforce: the last one would win."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(
                        "in a mapping", node.start_mark, f"key {key.value!r} stands there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node


def read_yaml(path: Path) -> Any:
    """Plain YAML values of a file. Raises UsageError for one that cannot be read, or is malformed (line and column)."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # a SafeLoader
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder; name the YAML file") from None
    except OSError as error:
        raise UsageError(f"{path}: not readable: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date such as 2024-99-99
        raise UsageError(f"{path}: not readable as YAML: {error}") from None


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("abet") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or one's own by the path of a ``.yaml`` file."""
    if name.endswith((".yaml", ".yml")):
        return parse(Recipe, read_yaml(Path(name)), source=name)
    if name not in recipe_names():
        raise unknown_name(kind="recipe", name=name, choices=recipe_names())
    with resources.as_file(resources.files("abet") / "recipes" / f"{name}.yaml") as path:
        return parse(Recipe, read_yaml(path), source=f"recipe {name}")
