"""A place where files are kept: a folder on this machine, or a prefix in an S3 bucket. No torch import.

    place = parse_place("s3://models/abet")
    place / "finetune"  # s3://models/abet/finetune

Both kinds join with ``/`` and have a ``name``, so that whoever only passes places on need not tell them apart.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from abet.errors import UsageError
from abet.text import without_password

SCHEME = "s3://"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3's rule for the names of buckets."""


@dataclass(frozen=True)
class S3Uri:
    """``s3://bucket/prefix``; the prefix has no slash at either end and may be empty."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def __truediv__(self, name: str) -> "S3Uri":
        assert name, "an empty name"
        assert not name.startswith("/"), name
        return S3Uri(self.bucket, f"{self.prefix}/{name}" if self.prefix else name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.prefix.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> "S3Uri":
        """The place around this one; the bucket is its own."""
        return S3Uri(self.bucket, self.prefix.rpartition("/")[0])


Place: TypeAlias = Path | S3Uri


def parse_place(text: str) -> Place:
    """The place that ``text`` names: ``s3://bucket/prefix``, or a path as it stands.

    Raises:
        UsageError: a malformed S3 URI, another scheme, an empty text, or a line break in it.
    """
    shown = repr(without_password(text))
    if not text or "\n" in text or "\r" in text or "\0" in text:
        raise UsageError(f"{shown} names no place: expected a path or s3://bucket/prefix, without line breaks")
    if not text.startswith(SCHEME):
        if re.match(r"[a-z][a-z0-9+.-]*://", text) or re.match(r"s3:/?[^/]", text):
            raise UsageError(f"{shown}: expected a path on this machine or s3://bucket/prefix")
        return Path(text)
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if not BUCKET.fullmatch(bucket):
        name = repr(bucket.rpartition("@")[2])
        raise UsageError(
            f"{shown}: {name} is no name of a bucket (3 to 63 of a-z, 0-9, '-' and '.'); expected s3://bucket/prefix"
        )
    parts = prefix.strip("/").split("/") if prefix.strip("/") else []
    if any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"{shown}: a part of the prefix is empty, '.' or '..'; expected s3://bucket/prefix")
    return S3Uri(bucket, "/".join(parts))
