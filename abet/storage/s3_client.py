"""One boto3 client and the patience with the server behind it.

There is one layer of retries, this one: from the start of the first request that failed, every request is made again
for `S3Settings.patience_seconds`, so that a server which restarts is a pause and no failure.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from functools import cache
from io import BytesIO
from typing import Any, TypeVar

from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage.pool import DaemonPool
from abet.storage.protocol import StorageUnavailable, require_name
from abet.storage.s3_errors import Action, Attempt, BrokenAnswer, arrived_damaged, explain, failures

PARTS_AT_ONCE = 10
CONNECTIONS = 32
CONNECT_SECONDS, READ_SECONDS = 10, 60
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 8.0
DAMAGED_TRIES = 3
"""An answer that bytes arrived damaged may also come from a server that knows no checksums: that is found out soon."""
LOOK_SECONDS = 0.2
"""How often those that wait for parts look whether the storage was abandoned."""

_T = TypeVar("_T")


class S3Client:
    """For all threads of a storage: clients may be shared, making them may not."""

    def __init__(self, place: S3Uri, settings: S3Settings) -> None:
        self.place, self.settings = place, settings
        self.root = f"{place.prefix}/" if place.prefix else ""
        unusable: tuple[type[Exception], ...] = (*failures(), ValueError)
        try:
            self.boto = _boto(settings)
        except unusable as error:  # no such profile, no URL, a damaged ~/.aws/config
            raise explain(error, self._attempt("list", "")) from None
        self._pool = DaemonPool(PARTS_AT_ONCE, name="abet-s3")
        self._abandoned = threading.Event()

    def target(self, name: str) -> dict[str, Any]:
        """The arguments of a request that say which object is meant. Raises DataError as `require_name`."""
        return {"Bucket": self.place.bucket, "Key": self.root + require_name(name, self.place)}

    def abandon(self) -> None:
        """Let no request be made again and none be begun; whoever waits for parts gets StorageUnavailable."""
        self._abandoned.set()

    def require_wanted(self, action: Action, name: str) -> None:
        """Raises StorageUnavailable once the storage was abandoned."""
        if self._abandoned.is_set():
            raise StorageUnavailable(f"{self._attempt(action, name)}: given up, since this process ends")

    def patiently(self, action: Action, name: str, request: Callable[[], _T]) -> _T:
        """The request's result; from its first failure on it is made again until the patience is spent."""
        start, pause, tries = time.monotonic(), FIRST_PAUSE_SECONDS, 0
        while True:
            self.require_wanted(action, name)
            try:
                return request()
            except failures() as error:
                tries += 1
                passed = time.monotonic() - start
                failure = explain(error, self._attempt(action, name, passed))
                again = isinstance(failure, StorageUnavailable) or (arrived_damaged(error) and tries < DAMAGED_TRIES)
            left = self.settings.patience_seconds - passed
            if not again or left <= 0:
                raise failure from None
            self._abandoned.wait(min(random.uniform(pause / 2, pause), left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def together(self, action: Action, name: str, requests: Sequence[Callable[[], _T]]) -> list[_T]:
        """The results of all requests, several made at once. After a failure no further one is begun."""
        futures = [self._pool.submit(request) for request in requests]
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, LOOK_SECONDS, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                self.require_wanted(action, name)
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def in_background(self, request: Callable[[], object], seconds: float) -> None:
        """Make a request that may fail, and wait for it so long at most."""
        wait([self._pool.submit(request)], seconds)

    def _attempt(self, action: Action, name: str, seconds: float = 0) -> Attempt:
        return Attempt(place=self.place, action=action, name=name, settings=self.settings, seconds=seconds)


def body_of(content: bytes) -> BytesIO | bytes:
    """How to hand bytes to boto3: long ones as a stream, since one call that sends them all has one timeout for it."""
    return content if len(content) <= 2**16 else BytesIO(content)


def version_in(answer: Any) -> str:
    """SeaweedFS under load has answered 200 without content and without an ETag: what to believe must have one."""
    if "ETag" not in answer:
        raise BrokenAnswer
    return str(answer["ETag"]).strip('"')


def status_of(error: Any) -> int:
    """HTTP status of a ClientError."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _boto(settings: S3Settings) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.session import get_session

    seconds = max(1, settings.patience_seconds)
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},  # `patiently` is the one who tries again
        connect_timeout=min(CONNECT_SECONDS, seconds),
        read_timeout=min(READ_SECONDS, seconds),
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation=settings.checksums,
        response_checksum_validation=settings.checksums,
        s3={"addressing_style": "path"} if settings.endpoint else None,
    )
    core = get_session()
    core.register_component("data_loader", _descriptions())
    session = boto3.session.Session(botocore_session=core)
    client = session.client("s3", endpoint_url=settings.endpoint, region_name=settings.region, config=config)
    # For a stream botocore asks first whether the server would take it: a round trip for each of many small files
    client.meta.events.register_last("before-call.s3", _ask_nothing_first)
    return client


@cache
def _descriptions() -> Any:
    """What botocore knows of S3: read once for all clients, which costs seven times as much as making one of them."""
    from botocore.session import get_session

    return get_session().get_component("data_loader")


def _ask_nothing_first(params: Any, **_: object) -> None:
    params["headers"].pop("Expect", None)
