"""What pods are told of the site: where S3 is for them, and no place that they do not see."""

from pathlib import Path

import pytest
import yaml

from abet.errors import UsageError
from abet.places import parse_place
from abet.site import S3Settings, SiteConfig
from jobs.kubernetes.profile import KubernetesProfile
from jobs.kubernetes.site_map import pod_site, with_environment

SITE = SiteConfig(artifacts=parse_place("s3://models/abet"), data={"cityscapes": Path("/data/cityscapes")})
ENVIRONMENT = {"AWS_ENDPOINT_URL": "https://s3.example.org", "AWS_DEFAULT_REGION": "eu-central-1"}


def told(site: SiteConfig) -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load(pod_site(site, KubernetesProfile()))
    return values


def test_folders_of_this_machine_are_left_out() -> None:
    assert told(SITE) == {"artifacts": "s3://models/abet", "scratch": "/scratch"}


def test_the_server_that_the_environment_names_is_the_pods_too() -> None:
    assert told(with_environment(SITE, {})) == told(SITE)
    assert told(with_environment(SITE, ENVIRONMENT))["s3"] == {
        "endpoint": "https://s3.example.org",
        "region": "eu-central-1",
    }
    special = {**ENVIRONMENT, "AWS_ENDPOINT_URL_S3": "https://objects.example.org"}
    assert with_environment(SITE, special).s3.endpoint == "https://objects.example.org"


def test_what_the_site_file_says_comes_first() -> None:
    own = SITE.model_copy(update={"s3": S3Settings(endpoint="https://own.example.org", patience_seconds=7)})
    s3 = with_environment(own, ENVIRONMENT).s3
    assert (s3.endpoint, s3.region, s3.patience_seconds) == ("https://own.example.org", "eu-central-1", 7)


def test_a_server_of_the_environment_that_is_no_url_is_refused_without_its_password() -> None:
    for wrong in ("minio:9000", "http://user:planted-value@minio:9000"):
        with pytest.raises(UsageError, match="AWS_ENDPOINT_URL of the environment: endpoint: ") as refusal:
            with_environment(SITE, {"AWS_ENDPOINT_URL": wrong})
        assert "planted-value" not in str(refusal.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8333", "localhost:9000", "[::1]:9000", "127.1.2.3"])
def test_a_server_on_the_loopback_address_is_refused(host: str) -> None:
    site = SITE.model_copy(update={"s3": S3Settings(endpoint=f"http://{host}")})
    with pytest.raises(UsageError, match="is this machine to itself, and each pod to itself"):
        pod_site(site, KubernetesProfile())
