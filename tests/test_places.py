"""Places: S3 URIs that mean one prefix and no other, beside ordinary paths."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from abet.places import S3Uri, parse_place


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ("s3://models", S3Uri("models"), "s3://models"),
        ("s3://models/", S3Uri("models"), "s3://models"),
        ("s3://models/abet/run 1", S3Uri("models", "abet/run 1"), "s3://models/abet/run 1"),
        ("s3://my.models-2/a/", S3Uri("my.models-2", "a"), "s3://my.models-2/a"),
        ("runs/x", Path("runs/x"), "runs/x"),
        ("/abs olute/$(x)", Path("/abs olute/$(x)"), "/abs olute/$(x)"),
        ("s3/models", Path("s3/models"), "s3/models"),
    ],
)
def test_a_text_names_one_place(text: str, place: object, shown: str) -> None:
    assert parse_place(text) == place
    assert str(parse_place(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\nb",
        "s3://models/a\r\nb",
        "a\0b",
        "s3:/models/a",  # what a path makes of an URI
        "s3:models",
        "gs://models/a",
        "https://models.s3.amazonaws.com/a",
        "s3://",
        "s3:///a",
        "s3://Models/a",
        "s3://mo/a",
        "s3://models/a//b",
        "s3://models/../other",
        "s3://models/./a",
        "s3://user:PLANTED@models/a",
        "https://user:PLANTED@host/a",
    ],
)
def test_what_names_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected .*s3://bucket/prefix") as caught:
        parse_place(text)
    assert "PLANTED" not in str(caught.value)


def test_a_prefix_joins_like_a_path() -> None:
    run = parse_place("s3://models/abet") / "finetune"
    assert (str(run), run.name, str(run.parent)) == ("s3://models/abet/finetune", "finetune", "s3://models/abet")
    bucket = S3Uri("models")
    assert (str(bucket / "a"), bucket.name, bucket.parent) == ("s3://models/a", "models", bucket)
