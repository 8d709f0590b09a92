"""How images of registries are named."""

import pytest

from abet.names import is_registry_image


@pytest.mark.parametrize(
    "text",
    [
        "abet",
        "abet:0.1.0",
        "registry.example.org/perception/abet:0.1.0",
        "Registry.Example.org:5000/a/b_c/d-e",
        f"localhost:5000/abet@sha256:{'0' * 64}",
    ],
)
def test_what_a_registry_can_hold(text: str) -> None:
    assert is_registry_image(text)


@pytest.mark.parametrize(
    "text", ["", "A b:latest", "Registry.Corp/Bad Name:latest", "x/Upper", "images/abet.sif", "/a/b.sqsh", "a:b:c"]
)
def test_what_it_cannot(text: str) -> None:
    assert not is_registry_image(text)
