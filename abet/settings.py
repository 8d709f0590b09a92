"""Typed values from YAML and the command line: frozen, complete, and never a misspelt key. No torch import."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from abet.errors import UsageError, unknown_name
from abet.text import without_password


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
    location = [str(part) for part in error["loc"]]
    if error["type"] != "extra_forbidden":
        # the mapping around the fault says little
        whole = error["type"] in ("missing", "unshown") or isinstance(error["input"], dict)
        shown = "" if whole else f" (found {without_password(repr(error['input']))})"
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


def override(kind: type[Strict], values: Any, changes: Sequence[str], *, source: str) -> Any:
    """``values`` with every ``a.b=value`` of ``changes`` in place; the value is YAML, as in the file.

    Raises:
        UsageError: a change without ``=``, of a key that ``kind`` does not have, or of a whole section.
    """
    known = dict(dotted_fields(kind))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change!r}: expected KEY=VALUE, for example {next(iter(known))}=VALUE")
        if key not in known:
            if any(name.startswith(f"{key}.") for name in known):
                raise UsageError(f"--set {change!r}: {key} is a section; set its keys one by one, as {key}.KEY=VALUE")
            raise unknown_name(kind=f"key of {source}", name=key, choices=known)
        values = _with_value(values, key.split("."), _scalar(change, text))
    return values


def dotted_fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf of ``kind`` by its dotted name, in order: ("training.steps", its field) and so on."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from dotted_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _scalar(change: str, text: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeyLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--set {change!r}: the value is not readable as YAML: {error}") from None


def _with_value(values: Any, path: list[str], value: Any) -> Any:
    if not isinstance(values, dict):
        return values  # `parse` says what is wrong with it
    first, *rest = path
    return {**values, first: _with_value(values.get(first, {}), rest, value) if rest else value}
