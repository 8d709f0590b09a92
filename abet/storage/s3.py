"""A prefix of an S3 bucket as a storage: boto3 for what decides, s3transfer for large files on their way up.

Every call goes on trying for `S3Settings.patience_seconds` while the server does not answer or fails, so that a server
which restarts is a pause and no failure. Objects of many parts that a killed process left unfinished stay invisible;
a rule of the bucket (AbortIncompleteMultipartUpload) clears them away.
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from abet.files import atomic_path
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage.protocol import ABSENT, Conflict, Entry, NotFound, StorageUnavailable, require_name, require_prefix
from abet.storage.s3_errors import Action, Attempt, explain, failures

PART_BYTES = 8 * 2**20
"""Larger objects travel in parts of this size, several at once."""
PARTS_AT_ONCE = 10
CHUNK_BYTES = 2**18
"""How much of a part is in memory at a time."""
CONNECTIONS = 32
CONNECT_SECONDS, READ_SECONDS = 10, 60
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 8.0
BUSY_TRIES = 8

_T = TypeVar("_T")


class BrokenAnswer(ConnectionError):  # noqa: N818
    """An answer that cannot be whole; as good as none."""


class S3Storage:
    """The objects below ``place``. One client for all threads: clients may be shared, making them may not."""

    def __init__(self, place: S3Uri, settings: S3Settings) -> None:
        self._place = place
        self._settings = settings
        self._root = f"{place.prefix}/" if place.prefix else ""
        unusable: tuple[type[Exception], ...] = (*failures(), ValueError)
        try:
            self._client = _client(settings)
        except unusable as error:  # no such profile, no URL, a damaged ~/.aws/config
            raise explain(error, self._attempt("list", "")) from None
        self._transfers = _transfers(self._client)
        self._parts = ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="abet-s3")
        self._bucket_seen = False

    @property
    def place(self) -> S3Uri:
        """Bucket and prefix."""
        return self._place

    @property
    def endpoint(self) -> str | None:
        """URL of the server; None for AWS, or what the environment says."""
        return self._settings.endpoint

    def list(self, prefix: str = "") -> list[Entry]:
        """See `Storage`. Empty objects that consoles make for folders ("a/b/") are left out."""
        require_prefix(prefix, self.place)

        def pages() -> list[Entry]:
            found = []
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self._place.bucket, Prefix=self._root + prefix):
                for item in page.get("Contents", ()):
                    name = item["Key"].removeprefix(self._root)
                    if not (item["Size"] == 0 and (name.endswith("/") or not name)):
                        found.append(Entry(require_name(name, self.place), item["Size"], _version(item)))
            return sorted(found)

        return self._patiently("list", prefix, pages)

    def read(self, name: str) -> tuple[bytes, str]:
        """See `Storage`."""
        key = self._key(name)

        def get() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self._place.bucket, Key=key)
            with closing(answer["Body"]) as body:
                return body.read(), _version(answer)

        return self._patiently("read", name, get)

    def write(self, name: str, content: bytes, *, expect: str | None) -> str:
        """See `Storage`."""
        key, tries = self._key(name), 0

        def put() -> str:
            nonlocal tries
            tries += 1
            self._require_bucket()
            return self._put(name, key, content, expect, retried=tries > 1)

        return self._patiently("write", name, put)

    def upload(self, source: Path, name: str) -> str:
        """See `Storage`."""
        key = self._key(name)

        def put() -> str:
            self._require_bucket()
            return self._send(source, key)

        return self._patiently("write", name, put)

    def download(self, name: str, target: Path) -> str:
        """See `Storage`."""
        key = self._key(name)
        with atomic_path(target) as temporary:
            return self._patiently("read", name, lambda: self._fetch(key, temporary))

    def delete(self, names: Iterable[str]) -> None:
        """See `Storage`. One request each: the one for many needs a checksum that not all servers know."""
        for name in names:
            request = partial(self._client.delete_object, Bucket=self._place.bucket, Key=self._key(name))
            self._patiently("delete", name, request)

    def _require_bucket(self) -> None:
        """Once, before something is written: some servers make a bucket of any name that somebody writes to."""
        from botocore.exceptions import ClientError

        if self._bucket_seen:
            return
        try:
            self._client.list_objects_v2(Bucket=self._place.bucket, Prefix=self._root, MaxKeys=1)
        except ClientError as error:
            if _status(error) != 403:  # keys that may not list, but may write
                raise
        self._bucket_seen = True

    def _put(self, name: str, key: str, content: bytes, expect: str | None, *, retried: bool) -> str:
        """One conditional request, and what its refusal means."""
        from botocore.exceptions import ClientError

        target = {"Bucket": self._place.bucket, "Key": key}
        for tried in range(BUSY_TRIES):
            try:
                return _version(self._client.put_object(**target, Body=content, **_condition(expect)))
            except ClientError as error:
                status = _status(error)
                retried = retried or error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                failed = status == 412 or (status == 404 and expect and _code(error) != "NoSuchBucket")
                if not failed and status != 409:
                    raise
            if failed:
                break
            time.sleep(random.uniform(0, 0.1 * 2**tried))  # 409: another writer is at it just now
        there, version = self._read_or_absent(name)
        if retried and there == content:
            return version
        found = f"version {version}" if version else "it is gone"
        raise Conflict(f"{self._place / name}: somebody else wrote it since we last looked ({found})")

    def _read_or_absent(self, name: str) -> tuple[bytes | None, str]:
        try:
            return self.read(name)
        except NotFound:
            return None, ABSENT

    def _send(self, source: Path, key: str) -> str:
        """A short file in one request, a long one in parts."""
        target = {"Bucket": self._place.bucket, "Key": key}
        if source.stat().st_size <= PART_BYTES:
            # bytes, and no open file: for a file botocore asks the server first whether it would take it
            return _version(self._client.put_object(**target, Body=source.read_bytes()))
        try:
            self._transfers.upload(str(source), *target.values()).result()
        except KeyError:  # s3transfer's way to meet an answer without an ETag
            raise BrokenAnswer from None
        return _version(self._client.head_object(**target))

    def _fetch(self, key: str, path: Path) -> str:
        """The first answer says how long the object is: a short one is read from it, a long one in parts."""
        answer = self._client.get_object(Bucket=self._place.bucket, Key=key)
        size, version = answer["ContentLength"], _version(answer)
        with path.open("wb") as file, closing(answer["Body"]) as body:
            if size <= PART_BYTES:
                file.write(body.read())
            else:
                body.close()
                self._fetch_parts(key, answer["ETag"], file.fileno(), size)
        if path.stat().st_size != size:
            raise BrokenAnswer
        return version

    def _fetch_parts(self, key: str, etag: str, descriptor: int, size: int) -> None:
        """All parts in parallel, each tried again by itself."""
        name = key.removeprefix(self._root)

        def fetch(start: int) -> None:
            part = partial(self._fetch_part, key, etag, descriptor, start, min(start + PART_BYTES, size))
            self._patiently("read", name, part)

        parts = [self._parts.submit(fetch, start) for start in range(0, size, PART_BYTES)]
        try:
            for part in parts:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            wait(parts)  # none may write to a descriptor that is closed

    def _fetch_part(self, key: str, etag: str, descriptor: int, start: int, end: int) -> None:
        """Checked by ourselves: s3transfer takes an empty answer, or one of another range, for what it asked."""
        from botocore.exceptions import ClientError

        wanted = {"Bucket": self._place.bucket, "Key": key, "IfMatch": etag, "Range": f"bytes={start}-{end - 1}"}
        try:
            answer = self._client.get_object(**wanted)
        except ClientError as error:
            if _status(error) == 412:
                raise Conflict(f"s3://{self._place.bucket}/{key}: replaced while it was read; read it again") from None
            raise
        if not answer.get("ContentRange", "").startswith(f"bytes {start}-{end - 1}/"):
            answer["Body"].close()
            raise BrokenAnswer
        with closing(answer["Body"]) as body:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                start += os.pwrite(descriptor, chunk, start)
        if start != end:
            raise BrokenAnswer

    def _patiently(self, action: Action, name: str, request: Callable[[], _T]) -> _T:
        """The request's result; from its first failure on it is made again until the patience is spent."""
        attempt = self._attempt(action, name)
        deadline, pause = None, FIRST_PAUSE_SECONDS
        while True:
            try:
                return request()
            except failures() as error:
                failure = explain(error, attempt)
            now = time.monotonic()
            deadline = deadline or now + self._settings.patience_seconds
            if not isinstance(failure, StorageUnavailable) or now >= deadline:
                raise failure from None
            time.sleep(min(random.uniform(pause / 2, pause), deadline - now))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _attempt(self, action: Action, name: str) -> Attempt:
        return Attempt(place=self._place, action=action, name=name, settings=self._settings)

    def _key(self, name: str) -> str:
        return self._root + require_name(name, self.place)


def _client(settings: S3Settings) -> Any:
    import boto3
    from botocore.config import Config

    # Few tries inside one request where somebody asked for a quick answer
    tries = 5 if settings.patience_seconds >= 20 else 1
    config = Config(
        retries={"mode": "standard", "total_max_attempts": tries},
        connect_timeout=min(CONNECT_SECONDS, max(1, settings.patience_seconds)),
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation=settings.checksums,
        response_checksum_validation=settings.checksums,
        s3={"addressing_style": "path"} if settings.endpoint else None,
    )
    session = boto3.session.Session()
    return session.client("s3", endpoint_url=settings.endpoint, region_name=settings.region, config=config)


def _transfers(client: Any) -> Any:
    from s3transfer.manager import TransferConfig, TransferManager

    config = TransferConfig(
        multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_request_concurrency=PARTS_AT_ONCE
    )
    return TransferManager(client, config)


def _condition(expect: str | None) -> dict[str, str]:
    if expect is None:
        return {}
    return {"IfNoneMatch": "*"} if expect == ABSENT else {"IfMatch": f'"{expect}"'}


def _version(answer: Any) -> str:
    """SeaweedFS under load has answered 200 without content and without an ETag: what to believe must have one."""
    if "ETag" not in answer:
        raise BrokenAnswer
    return str(answer["ETag"]).strip('"')


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
