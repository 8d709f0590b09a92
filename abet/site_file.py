"""Writing the site file: the commented example with a user's values in it. No torch import.

    answers = {"artifacts": "s3://models/abet", "data.mapillary": None}
    write_site(Path("abet.site.yaml"), answers)

Values are the texts that the file will hold; None leaves the example's line as a comment.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml
from pydantic.fields import FieldInfo

from abet.errors import UsageError, unknown_name
from abet.files import write_bytes
from abet.names import OOD_NAMES, TRAINING_NAMES
from abet.places import S3Uri, parse_place
from abet.settings import dotted_fields, parse
from abet.site import SiteConfig

EXAMPLE = "site.example.yaml"
LINE = re.compile(r"(?P<indent> *)(?:# )?(?P<key>[a-z0-9_]+):(?: (?P<value>\S+))?")
"""A line of the example that a value belongs to, active or commented out. Comments in words do not match it."""
FOLDERS = ("weights", "scratch", "jobs")
"""Values that are folders of this machine."""


@dataclass(frozen=True)
class Question:
    """One value of the site file."""

    key: str
    """Dotted, as ``--set`` takes it."""
    meaning: str
    default: str | None
    """What stands in the file when nothing is answered; None: nothing."""


def questions() -> list[Question]:
    """Every value of the site file, in the example's order, with what it means and its default."""
    fields = dict(dotted_fields(SiteConfig))
    del fields["data"]
    asked = [
        Question(f"data.{name}", f"place of a set that is {purpose}, unpacked: a folder or s3://", None)
        for names, purpose in ((OOD_NAMES, "evaluated"), (TRAINING_NAMES, "learned from"))
        for name in names
    ]
    return [*asked, *(Question(key, field.description or "", _default(field)) for key, field in fields.items())]


def _default(field: FieldInfo) -> str | None:
    return None if field.default is None else str(field.default)


def parse_changes(changes: list[str]) -> dict[str, str | None]:
    """``key=value`` texts by key; an empty value means: not set.

    Raises:
        UsageError: a text without ``=``, or a key that the site file does not have.
    """
    known = [question.key for question in questions()]
    found: dict[str, str | None] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change!r}: expected KEY=VALUE, for example artifacts=s3://bucket/prefix")
        if key not in known:
            raise unknown_name(kind="key of the site file", name=key, choices=known)
        found[key] = value.strip() or None
    return found


def fault_of(key: str, value: str | None) -> str | None:
    """Why the site file cannot hold this value; None when it can."""
    if value is None:
        return None
    section, dot, name = key.rpartition(".")
    try:
        parse(SiteConfig, {section: {name: value}} if dot else {key: value}, source="site file")
        if key in FOLDERS and isinstance(parse_place(value), S3Uri):
            return f"{key}: {value} is no folder of this machine; s3:// is possible for data, artifacts and checkpoint"
    except UsageError as error:
        return str(error)
    return None


def remark_on(key: str, value: str | None, base: Path) -> str | None:
    """What is odd about a value that the file can hold; relative paths are relative to ``base``."""
    if value is None or not (key.startswith("data.") or key == "checkpoint"):
        return None
    place = parse_place(value)
    if isinstance(place, S3Uri) or (base / place.expanduser()).exists():
        return None
    return f"{value} is not there (yet, or not on this machine)"


def read_answers(path: Path) -> dict[str, str | None]:
    """The values that a site file holds now. Raises UsageError for one that `load_site` would refuse."""
    from abet.settings import read_yaml

    values = read_yaml(path) or {}
    parse(SiteConfig, values, source=str(path))
    flat = {f"{key}.{name}": entry for key in ("data", "s3") for name, entry in (values.pop(key, None) or {}).items()}
    return {key: None if value is None else str(value) for key, value in (flat | values).items()}


def render(answers: Mapping[str, str | None]) -> str:
    """The example's text with ``answers`` in place of its values; a key without an answer becomes a comment.

    Raises:
        UsageError: a value that the site file cannot hold.
    """
    text = "\n".join(_filled(line, answers) for line in _keyed_lines()) + "\n"
    parse(SiteConfig, yaml.safe_load(text), source="abet.site.yaml")
    return text


def write_site(path: Path, answers: Mapping[str, str | None]) -> None:
    """Write the site file, whole or not at all. Raises UsageError as `render` does."""
    write_bytes(path, render(answers).encode())


@dataclass(frozen=True)
class _Line:
    text: str
    key: str | None
    """Dotted; None for a line of the example that holds no value."""


def _keyed_lines() -> Iterator[_Line]:
    """The example's lines, each with the key whose value it holds."""
    known = {question.key for question in questions()}
    section = ""
    for text in (resources.files("abet") / EXAMPLE).read_text(encoding="utf-8").splitlines():
        match = LINE.fullmatch(text)
        if match and not match["indent"]:
            section = "" if match["value"] else f"{match['key']}."
        key = match and f"{section if match['indent'] else ''}{match['key']}"
        yield _Line(text, key if key in known else None)


def _filled(line: _Line, answers: Mapping[str, str | None]) -> str:
    if line.key is None:
        return line.text
    match = LINE.fullmatch(line.text)
    assert match is not None
    value = answers.get(line.key)
    if value is None:
        return f"{match['indent']}# {match['key']}: {match['value']}"
    return f"{match['indent']}{match['key']}: {value if _is_number(line.key) else _scalar(value)}"


def _is_number(key: str) -> bool:
    return any(name == key and field.annotation is int for name, field in dotted_fields(SiteConfig))


def _scalar(value: str) -> str:
    """As YAML: plain where that reads back as the same text, else in double quotes."""
    try:
        plain = yaml.safe_load(f"key: {value}") == {"key": value}
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value)
