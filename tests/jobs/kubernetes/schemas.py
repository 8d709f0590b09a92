"""Strict validation of manifests, as a server would do it: unknown fields are errors."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import unavailable

KUBERNETES = "1.33"
CUSTOM = {
    "PyTorchJob": "kubeflow.org_pytorchjobs.yaml",
    "TrainJob": "trainer.kubeflow.org_trainjobs.yaml",
    "TrainingRuntime": "trainer.kubeflow.org_trainingruntimes.yaml",
}
"""Kind -> file of its CustomResourceDefinition, as its operator's release holds it."""


def schema_folder() -> Path:
    """``$ABET_SCHEMAS_DIR``, else ``../shared/schemas`` beside the checkout: files of the operators' releases."""
    folder = Path(os.environ.get("ABET_SCHEMAS_DIR", Path(__file__).parents[4] / "shared" / "schemas"))
    if not all((folder / name).is_file() for name in CUSTOM.values()):
        unavailable(f"CustomResourceDefinitions absent: {folder} (set ABET_SCHEMAS_DIR to where the operators' are)")
    return folder


def faults(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object by its schema."""
    return _by_definition(document) if document["kind"] in CUSTOM else _by_kubernetes(document)


def _by_kubernetes(document: Mapping[str, Any]) -> list[str]:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(dict(document), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


def _by_definition(document: Mapping[str, Any]) -> list[str]:
    import jsonschema

    validator = jsonschema.Draft202012Validator(_strict_schema(document["kind"], document["apiVersion"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@cache
def _strict_schema(kind: str, version: str) -> Any:
    definition = yaml.safe_load((schema_folder() / CUSTOM[kind]).read_text())
    group, _, name = version.partition("/")
    assert definition["spec"]["group"] == group
    (found,) = (each for each in definition["spec"]["versions"] if each["name"] == name)
    return _closed(found["schema"]["openAPIV3Schema"])


def _closed(schema: Any) -> Any:
    """The same where only listed properties are allowed; metadata is the server's own."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items() if key not in ("description", "default")}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made
