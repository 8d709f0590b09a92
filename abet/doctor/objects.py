"""S3: credentials, buckets, and whether the server honours the conditions that runs rely on."""

import secrets
from collections.abc import Iterator

from abet.doctor.check import Check
from abet.doctor.folders import impatient
from abet.errors import AbetError
from abet.places import S3Uri
from abet.site import S3Settings, SiteConfig
from abet.storage import ConditionsIgnored, open_storage, require_writable


def check_s3(site: SiteConfig) -> Iterator[Check]:
    """The server, the keys in use, each bucket, and writing where artifacts lie in S3."""
    places = [place for place in (site.artifacts, site.checkpoint, *site.data.values()) if isinstance(place, S3Uri)]
    if not places:
        yield Check.unset("s3", "nothing of this site lies in S3")
        return
    settings = impatient(site)
    yield Check.ok("s3.endpoint", settings.endpoint or "AWS, or AWS_ENDPOINT_URL")
    yield _credentials()
    for bucket in sorted({place.bucket for place in places} - {_artifacts_bucket(site)}):
        yield _readable(next(place for place in places if place.bucket == bucket), settings)
    if isinstance(site.artifacts, S3Uri):
        yield from _artifacts(site.artifacts, settings)


def _artifacts_bucket(site: SiteConfig) -> str | None:
    return site.artifacts.bucket if isinstance(site.artifacts, S3Uri) else None


def _credentials() -> Check:
    """Which member of boto3's chain gives the keys; their values are not looked at."""
    import boto3
    from botocore.exceptions import BotoCoreError

    fix = "set AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE or the AWS_ variables, or write ~/.aws/credentials"
    try:
        found = boto3.session.Session().get_credentials()
    except BotoCoreError as error:
        return Check.problem("s3 credentials", type(error).__name__, fix)
    if found is None:
        return Check.problem("s3 credentials", "boto3 finds none", fix)
    return Check.ok("s3 credentials", f"from boto3's chain: {found.method}")


def _readable(place: S3Uri, settings: S3Settings) -> Check:
    name = f"s3 bucket {place.bucket}"
    try:
        # a prefix of one object at most: whether we may list is all that is asked
        open_storage(S3Uri(place.bucket), settings).list(f".abet-doctor-{secrets.token_hex(8)}")
    except AbetError as error:
        return Check.problem(name, str(error), "see docs/storage.md")
    return Check.ok(name, "may be listed")


def _artifacts(place: S3Uri, settings: S3Settings) -> Iterator[Check]:
    try:
        require_writable(open_storage(place, settings))
    except ConditionsIgnored as error:
        yield Check.problem("s3 conditional writes", str(error), "see docs/storage.md")
        return
    except AbetError as error:
        yield Check.problem("artifacts", str(error), "see docs/storage.md")
        return
    yield Check.ok("artifacts", f"{place} can be written")
    yield Check.ok("s3 conditional writes", "honoured: If-None-Match and If-Match")
