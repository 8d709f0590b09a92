"""Large objects travel in parts, several at once, each of which is tried again by itself.

Why not boto3's own s3transfer: Python joins its threads when a process ends, so one that was stopped lived on for a
minute; its downloads took an empty answer with status 200 for a part, which left a hole of zeros; and its uploads take
no condition. What it does beyond this (bandwidth limits, directory buckets) is not needed here.
"""

import os
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from abet.storage.protocol import Conflict, StorageUnavailable
from abet.storage.s3_client import S3Client, status_of, version_in
from abet.storage.s3_errors import BrokenAnswer, code_of

PART_BYTES = 8 * 2**20
MOST_PARTS = 10_000
"""S3's limit; objects that would have more have larger parts."""
CHUNK_BYTES = 2**18
"""How much of a part is in memory at a time on its way down."""
LOST_TRIES = 3
ABORT_SECONDS = 1.0


class _UploadLost(Exception):  # noqa: N818
    """The server does not know the upload, or a part of it: it lost them, or only its answer got lost."""


def send_parts(client: S3Client, source: Path, name: str) -> str:
    """Upload a file; returns the object's version. What a killed process left unfinished stays invisible."""
    for _ in range(LOST_TRIES):
        with suppress(_UploadLost):
            return _send(client, source, name)
    raise StorageUnavailable(
        f"{client.place / name}: cannot write: the server lost the parts {LOST_TRIES} times; is it in order?"
    )


def _send(client: S3Client, source: Path, name: str) -> str:
    target, size = client.target(name), source.stat().st_size
    # as s3transfer does it: the algorithm is announced, and each part's checksum confirmed at the end
    algorithm = {"ChecksumAlgorithm": "CRC32"} if client.settings.checksums == "when_supported" else {}
    upload = client.patiently("write", name, partial(_begin, client, target | algorithm))
    part_bytes = max(PART_BYTES, -(-size // MOST_PARTS))

    def send(number: int) -> dict[str, Any]:
        with source.open("rb") as file:
            file.seek((number - 1) * part_bytes)
            content = file.read(part_bytes)
        request = {**upload, **algorithm, "PartNumber": number}
        return client.patiently("write", name, partial(_send_part, client, request, content))

    try:
        numbers = range(1, -(-size // part_bytes) + 1)
        parts = client.together("write", name, [partial(send, number) for number in numbers])
        return client.patiently("write", name, partial(_complete, client, upload, parts))
    except BaseException:
        client.in_background(lambda: client.boto.abort_multipart_upload(**upload), ABORT_SECONDS)
        raise


def _begin(client: S3Client, request: dict[str, Any]) -> dict[str, Any]:
    answer = client.boto.create_multipart_upload(**request)
    if "UploadId" not in answer:
        raise BrokenAnswer
    return {"Bucket": request["Bucket"], "Key": request["Key"], "UploadId": answer["UploadId"]}


def _send_part(client: S3Client, request: dict[str, Any], content: bytes) -> dict[str, Any]:
    answer = _or_lost(lambda: client.boto.upload_part(**request, Body=BytesIO(content)))
    version_in(answer)
    confirmed = {key: answer[key] for key in ("ETag", "ChecksumCRC32") if key in answer}
    return {**confirmed, "PartNumber": request["PartNumber"]}


def _complete(client: S3Client, upload: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    request = {**upload, "MultipartUpload": {"Parts": parts}}
    return version_in(_or_lost(lambda: client.boto.complete_multipart_upload(**request)))


def _or_lost(request: Callable[[], Any]) -> Any:
    from botocore.exceptions import ClientError

    try:
        return request()
    except ClientError as error:
        if code_of(error) in ("NoSuchUpload", "InvalidPart"):
            raise _UploadLost from None
        raise


def fetch_parts(client: S3Client, name: str, etag: str, path: Path, size: int) -> None:
    """Fill ``path`` with an object of ``size`` bytes that has this ETag. Raises Conflict when it was replaced."""

    def fetch(start: int) -> None:
        span = range(start, min(start + PART_BYTES, size))
        client.patiently("read", name, partial(_fetch_part, client, name, etag, span, path))

    path.touch()
    os.truncate(path, size)
    client.together("read", name, [partial(fetch, start) for start in range(0, size, PART_BYTES)])


def _fetch_part(client: S3Client, name: str, etag: str, span: range, path: Path) -> None:
    """Checked by ourselves: an empty answer, or one of another range, must leave no hole."""
    from botocore.exceptions import ClientError

    asked = f"{span.start}-{span.stop - 1}"
    try:
        answer = client.boto.get_object(**client.target(name), IfMatch=etag, Range=f"bytes={asked}")
    except ClientError as error:
        if status_of(error) == 412:
            raise Conflict(f"{client.place / name}: replaced while it was read; read it again") from None
        raise
    if not answer.get("ContentRange", "").startswith(f"bytes {asked}/"):
        answer["Body"].close()
        raise BrokenAnswer
    place = span.start
    # a file of its own: whoever waited for this part may have gone, and another file got its number
    with closing(answer["Body"]) as body, path.open("r+b") as file:
        for chunk in body.iter_chunks(CHUNK_BYTES):
            client.require_wanted("read", name)
            place += os.pwrite(file.fileno(), chunk, place)
    if place != span.stop:
        raise BrokenAnswer
