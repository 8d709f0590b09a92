"""A prefix of an S3 bucket as a storage, on boto3.

Objects of many parts that a killed process left unfinished stay invisible; a rule of the bucket
(AbortIncompleteMultipartUpload) clears them away.
"""

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from abet.files import atomic_path
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage.protocol import ABSENT, Conflict, Entry, NotFound, require_name, require_prefix
from abet.storage.s3_client import S3Client, body_of, status_of, version_in
from abet.storage.s3_errors import BrokenAnswer, code_of
from abet.storage.s3_parts import PART_BYTES, fetch_parts, send_parts

BUSY_TRIES = 8


class S3Storage:
    """The objects below ``place``."""

    def __init__(self, place: S3Uri, settings: S3Settings) -> None:
        self._place = place
        self._client = S3Client(place, settings)
        self._bucket_seen = False

    @property
    def place(self) -> S3Uri:
        """Bucket and prefix."""
        return self._place

    @property
    def endpoint(self) -> str | None:
        """URL of the server; None for AWS, or what the environment says."""
        return self._client.settings.endpoint

    def list(self, prefix: str = "") -> list[Entry]:
        """See `Storage`. Empty objects that consoles make for folders ("a/b/") are left out."""
        require_prefix(prefix, self.place)
        found: list[Entry] = []
        after: dict[str, str] = {}
        while True:
            entries, after = self._client.patiently("list", prefix, partial(self._page, prefix, after))
            found += entries
            if not after:
                return sorted(found)

    def read(self, name: str) -> tuple[bytes, str]:
        """See `Storage`."""
        target = self._client.target(name)

        def get() -> tuple[bytes, str]:
            answer = self._client.boto.get_object(**target)
            with closing(answer["Body"]) as body:
                return body.read(), version_in(answer)

        return self._client.patiently("read", name, get)

    def write(self, name: str, content: bytes, *, expect: str | None) -> str:
        """See `Storage`."""
        target, tries = self._client.target(name), 0

        def put() -> str:
            nonlocal tries
            tries += 1
            self._require_bucket()
            return self._put(name, target, content, expect, retried=tries > 1)

        return self._client.patiently("write", name, put)

    def upload(self, source: Path, name: str) -> str:
        """See `Storage`. A short file goes in one request, a long one in parts."""
        target = self._client.target(name)
        self._client.patiently("write", name, self._require_bucket)
        if source.stat().st_size > PART_BYTES:
            return send_parts(self._client, source, name)
        content = source.read_bytes()
        put = self._client.boto.put_object
        return self._client.patiently("write", name, lambda: version_in(put(**target, Body=body_of(content))))

    def download(self, name: str, target: Path) -> str:
        """See `Storage`."""
        key = self._client.target(name)
        with atomic_path(target) as temporary:
            return self._client.patiently("read", name, partial(self._fetch, name, key, temporary))

    def delete(self, names: Iterable[str]) -> None:
        """See `Storage`. One request each: deleting many at once needs checksums that not all servers know."""
        for name in names:
            request = partial(self._client.boto.delete_object, **self._client.target(name))
            self._client.patiently("delete", name, request)

    def abandon(self) -> None:
        """See `Storage`."""
        self._client.abandon()

    def _page(self, prefix: str, after: dict[str, str]) -> tuple[Sequence[Entry], dict[str, str]]:
        """Up to 1000 entries, and what to ask the next page with; nothing when this is the last."""
        root, boto = self._client.root, self._client.boto
        page = boto.list_objects_v2(Bucket=self._place.bucket, Prefix=root + prefix, **after)
        found = []
        for item in page.get("Contents", ()):
            name = item["Key"].removeprefix(root)
            if not (item["Size"] == 0 and (name.endswith("/") or not name)):
                found.append(Entry(require_name(name, self.place), item["Size"], version_in(item)))
        if not page.get("IsTruncated"):
            return found, {}
        token = page.get("NextContinuationToken")
        if not token or token == after.get("ContinuationToken"):
            raise BrokenAnswer
        return found, {"ContinuationToken": token}

    def _require_bucket(self) -> None:
        """Once, before something is written: some servers make a bucket of any name that somebody writes to."""
        from botocore.exceptions import ClientError

        if self._bucket_seen:
            return
        try:
            self._client.boto.list_objects_v2(Bucket=self._place.bucket, Prefix=self._client.root, MaxKeys=1)
        except ClientError as error:
            if status_of(error) != 403:  # keys that may not list, but may write
                raise
        self._bucket_seen = True

    def _put(self, name: str, target: dict[str, Any], content: bytes, expect: str | None, *, retried: bool) -> str:
        """One conditional request, and what its refusal means."""
        from botocore.exceptions import ClientError

        for tried in range(BUSY_TRIES):
            try:
                request = {**target, "Body": body_of(content), **_condition(expect)}
                return version_in(self._client.boto.put_object(**request))
            except ClientError as error:
                status = status_of(error)
                failed = status == 412 or (status == 404 and expect and code_of(error) != "NoSuchBucket")
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

    def _fetch(self, name: str, target: dict[str, Any], path: Path) -> str:
        """The first answer says how long the object is: a short one is read from it, a long one in parts."""
        answer = self._client.boto.get_object(**target)
        size, version = answer["ContentLength"], version_in(answer)
        with closing(answer["Body"]) as body:
            if size <= PART_BYTES:
                path.write_bytes(body.read())
        if size > PART_BYTES:
            fetch_parts(self._client, name, answer["ETag"], path, size)
        if path.stat().st_size != size:
            raise BrokenAnswer
        return version


def _condition(expect: str | None) -> dict[str, str]:
    if expect is None:
        return {}
    return {"IfNoneMatch": "*"} if expect == ABSENT else {"IfMatch": f'"{expect}"'}
