"""Typed values from YAML and the command line: frozen, complete, and never a misspelt key. No torch import."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from abet.errors import UsageError, unknown_name
from abet.text import without_password

Positive = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]

WIDTH = 120
"""Columns of a comment."""
KIND = "kind"
"""The key that chooses between sections."""


class Strict(BaseModel):
    """Frozen, and a key that no field has is an error: a misspelt option never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


def unshown(rule: str) -> PydanticCustomError:
    """What a validator raises when the value is not to be repeated: it may be a secret, or stands in the rule."""
    return PydanticCustomError("unshown", "{rule}", {"rule": rule})


def _explain(kind: type[BaseModel], error: dict[str, Any]) -> str:
    kind, path = _resolved(kind, [str(part) for part in error["loc"]])
    location = ".".join(path)
    if error["type"] == "union_tag_invalid":
        rule = f"Input should be one of {error['ctx']['expected_tags']} (found {error['ctx']['tag']!r})"
        return f"{location}.{KIND}: {rule}"
    if error["type"] == "extra_forbidden":
        prefix = location.rpartition(".")[0]
        known = [f"{prefix}.{name}".removeprefix(".") for name in kind.model_fields]
        return str(unknown_name(kind="key", name=location, choices=known))
    # the mapping around the fault says little
    whole = error["type"] in ("missing", "unshown") or isinstance(error["input"], dict)
    shown = "" if whole else f" (found {without_password(repr(error['input']))})"
    where = f"{location}: " if location else ""
    return f"{where}{error['msg'].removeprefix('Value error, ')}{shown}"


def _resolved(kind: type[BaseModel], location: list[str]) -> tuple[type[BaseModel], list[str]]:
    """The innermost section of a fault's place, and the place as a user writes it: without the kind of a section."""
    if not location:
        return kind, []
    part, *rest = location
    inner = sections(kind.model_fields[part]) if part in kind.model_fields else []
    if not inner:
        return kind, location
    if len(inner) > 1 and rest:
        tag = rest.pop(0)
        inner = [one for one in inner if tag in get_args(one.model_fields[KIND].annotation)]
    kind, path = _resolved(inner[0], rest)
    return kind, [part, *path]


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


def override(kind: type[Strict], values: Any, changes: Sequence[str], *, source: str) -> Any:
    """``values`` with every ``a.b=value`` of ``changes`` in place; the value is YAML, as in the file.

    Raises:
        UsageError: a change without ``=``, of a key that ``kind`` does not have, or of a whole section.

    Another ``kind`` of a section starts it anew: the keys of the one before do not belong to it.
    """
    known = dict(dotted_fields(kind))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change!r}: expected KEY=VALUE, for example {next(iter(known))}=VALUE")
        if key not in known:
            if any(name.startswith(f"{key}.") for name in known):
                raise UsageError(f"--set {change!r}: {key} is a section; set its keys one by one, as {key}.KEY=VALUE")
            section = [name for name in known if name.startswith(key.rpartition(".")[0] + ".")]
            raise unknown_name(kind=f"key of {source}", name=key, choices=section or known)
        path, value = key.split("."), _scalar(change, text)
        if path[-1] == KIND and (_at(values, path) or known[key].default) != value:
            path, value = path[:-1], {KIND: value}  # the keys of the kind before are not those of this one
        values = _with_value(values, path, value)
    return values


def _at(values: Any, path: Sequence[str]) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def dotted_fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of ``kind`` by its dotted name, in order: ("training.steps", its field) and so on.

    Of a section that comes in several kinds, the keys of all of them; a section that may be null is a key as well.
    """
    for name, field in kind.model_fields.items():
        inner = sections(field)
        if not inner or type(None) in get_args(field.annotation):
            yield f"{prefix}{name}", field
        keys: dict[str, FieldInfo] = {}
        for section in inner:
            keys = {**dict(dotted_fields(section, f"{prefix}{name}.")), **keys}
        yield from keys.items()


def explained(kind: type[BaseModel], values: dict[str, Any]) -> str:
    """``values`` of a ``kind`` as YAML, with the description of each key in a comment above it."""
    texts = {name: field.description for name, field in dotted_fields(kind)}

    def lines(values: dict[str, Any], prefix: str, indent: str) -> Iterator[str]:
        for name, value in values.items():
            if text := texts.get(f"{prefix}{name}"):
                yield from wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
            if isinstance(value, dict):
                yield f"{indent}{name}:"
                yield from lines(value, f"{prefix}{name}.", f"{indent}  ")
            else:
                one_line = yaml.safe_dump([value], default_flow_style=True, width=math.inf).strip()
                yield f"{indent}{name}: {one_line[1:-1]}"

    return "\n".join(lines(values, "", ""))


def sections(field: FieldInfo) -> list[type[BaseModel]]:
    """The sections that a field may hold: none for a plain value, several where the section has a ``kind``."""
    union = get_origin(field.annotation) in (Union, UnionType)
    members = get_args(field.annotation) if union else (field.annotation,)
    return [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]


def _scalar(change: str, text: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeyLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--set {change!r}: the value is not readable as YAML: {error}") from None


def _with_value(values: Any, path: list[str], value: Any) -> Any:
    if values is None:
        values = {}  # a section that was null: `parse` asks for its other keys
    if not isinstance(values, dict):
        return values  # `parse` says what is wrong with it
    first, *rest = path
    return {**values, first: _with_value(values.get(first, {}), rest, value) if rest else value}
