"""What S3's many ways to fail mean to a user: refused for good, unavailable for now, or not found.

No message repeats what the server said beyond its error code: nothing that it echoes can end up in a log.
"""

from dataclasses import dataclass
from typing import Any, Literal

from abet.errors import AbetError
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage.protocol import NotFound, StorageRefused, StorageUnavailable
from abet.text import printable

Action = Literal["list", "read", "write", "delete"]

PERMISSION = {"list": "s3:ListBucket", "read": "s3:GetObject", "write": "s3:PutObject", "delete": "s3:DeleteObject"}
CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_SHARED_CREDENTIALS_FILE or AWS_PROFILE, "
    "or write ~/.aws/credentials"
)
WRONG_KEYS = f"the keys are wrong or have expired: {CREDENTIALS}"
WRONG_REGION = "the bucket is in another region: set `s3.region` in the site file"
WRONG_CHECKSUM = frozenset({"NotImplemented", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "501"})
REMEDIES = {
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired"),
        WRONG_KEYS,
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"), WRONG_REGION
    ),
    **dict.fromkeys(
        WRONG_CHECKSUM, "if the server knows no CRC checksums, set `s3.checksums: when_required` in the site file"
    ),
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
}
DAMAGED = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
"""Codes for bytes that arrived other than they were sent."""
TEMPORARY_CODES = frozenset(
    {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BadDigest"}
) | {"IncompleteBody", "OperationAborted", "ConditionalRequestConflict"}


class BrokenAnswer(ConnectionError):  # noqa: N818
    """An answer that cannot be whole; as good as none."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What was tried when an error came: it stands in every message."""

    place: S3Uri
    action: Action
    name: str
    """Name of the object, or prefix of the listing, below the place."""
    settings: S3Settings
    seconds: float = 0
    """How long it has been tried."""

    def __str__(self) -> str:
        where = str(self.place / self.name) if self.name else str(self.place)
        return f"{printable(where, limit=400)}: cannot {self.action}"

    @property
    def endpoint(self) -> str:
        """Which server, in words."""
        return self.settings.endpoint or "AWS, or what AWS_ENDPOINT_URL says"


def failures() -> tuple[type[Exception], ...]:
    """Exceptions of a request that a server or the way to it may have caused; a full disk is none of them."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError, ConnectionError)


def code_of(error: Any) -> str:
    """S3's error code in a ClientError."""
    return str(error.response.get("Error", {}).get("Code", ""))


def arrived_damaged(error: Exception) -> bool:
    """Whether the server says that it got other bytes than it was told."""
    return hasattr(error, "response") and code_of(error) in DAMAGED


def explain(error: BaseException, attempt: Attempt) -> AbetError:
    """Our error for an exception of boto3, botocore or of a connection."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _answered(error.response, attempt)
    return _unanswered(error, attempt)


def _answered(response: Any, attempt: Attempt) -> AbetError:
    code = printable(str(response.get("Error", {}).get("Code", "")), limit=60)
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        bucket = attempt.place.bucket
        return StorageRefused(
            f"{attempt}: there is no bucket {bucket!r} at {attempt.endpoint} ({code}); correct the place or "
            f"`s3.endpoint` of the site file, or create the bucket: aws s3 mb s3://{bucket}"
        )
    if status == 404 and attempt.action == "read":
        return NotFound(f"{attempt}: no such object")
    if remedy := _remedy(code, status, attempt):
        return StorageRefused(f"{attempt}: S3 answered {code} ({status}) at {attempt.endpoint}; {remedy}")
    return StorageUnavailable(
        f"{attempt}: S3 answered {code} ({status}) at {attempt.endpoint}, for {attempt.seconds:.0f} s; try later"
    )


def _remedy(code: str, status: int, attempt: Attempt) -> str | None:
    """What to do about an answer that will not change by itself; None for one that may."""
    if code in TEMPORARY_CODES or status == 429 or (status >= 500 and code not in WRONG_CHECKSUM):
        return None
    if code in REMEDIES:
        return REMEDIES[code]
    if status == 401:
        return WRONG_KEYS
    if status == 403:
        hint = " (or the object is absent and they may not list)" if attempt.action == "read" else ""
        return (
            f"the keys in use do not have {PERMISSION[attempt.action]} on bucket {attempt.place.bucket!r}{hint}: "
            "ask its owner for it, or use other keys"
        )
    return "check the place, and `s3.endpoint`, `s3.region` and `s3.checksums` in the site file"


def _unanswered(error: BaseException, attempt: Attempt) -> AbetError:
    from botocore import exceptions as boto

    kind = type(error).__name__
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return StorageRefused(f"{attempt}: no credentials found; {CREDENTIALS}")
    if isinstance(error, boto.ProfileNotFound):
        return StorageRefused(f"{attempt}: AWS_PROFILE names a profile that ~/.aws/config does not have; {CREDENTIALS}")
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StorageRefused(
            f"{attempt}: the certificate of {attempt.endpoint} is not trusted here; set AWS_CA_BUNDLE to the file that "
            "holds your site's certificates"
        )
    if isinstance(error, _lost_kinds()):
        return StorageUnavailable(
            f"{attempt}: no answer from {attempt.endpoint} within {attempt.seconds:.0f} s ({kind}): "
            "is the server up, and `s3.endpoint` in the site file right?"
        )
    return StorageRefused(
        f"{attempt}: the request could not be made ({kind}); check `s3.endpoint` in the site file "
        f"({attempt.endpoint}), and the credentials: {CREDENTIALS}"
    )


def _lost_kinds() -> tuple[type[Exception], ...]:
    """Exceptions that mean that a connection could not be made, or broke; another try may succeed."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    return (
        boto.ConnectionError,  # DNS, refused, TLS
        boto.HTTPClientError,  # timeouts, broken streams
        boto.IncompleteReadError,
        boto.FlexibleChecksumError,
        ResponseParserError,
        ConnectionError,
    )
