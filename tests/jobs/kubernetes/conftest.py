"""A site whose everything lies in S3, and the manifests of its jobs."""

from collections.abc import Callable
from typing import Any

import pytest

from abet.names import OOD_NAMES, TRAINING_NAMES
from abet.places import S3Uri
from abet.site import SiteConfig
from jobs import catalogue
from jobs.catalogue import Request
from jobs.kubernetes.manifests import documents
from jobs.kubernetes.profile import KubernetesProfile
from jobs.spec import JobSpec

MODELS = S3Uri("models", "abet")


@pytest.fixture
def cloud() -> SiteConfig:
    data = {name: S3Uri("datasets", name) for name in (*OOD_NAMES, *TRAINING_NAMES)}
    return SiteConfig(data=data, artifacts=MODELS, image="registry.example.org/abet:1")


@pytest.fixture
def finetune(cloud: SiteConfig) -> JobSpec:
    return catalogue.training("cityscapes_finetune", Request(snapshot=MODELS / "pretrain"), cloud)


@pytest.fixture
def shards(cloud: SiteConfig) -> list[JobSpec]:
    """An evaluation of which two shards are missing, and its merge."""
    wanted = Request(checkpoint=MODELS / "run", shards=8)
    return catalogue.evaluation("road_anomaly", wanted, cloud, run=MODELS / "run", missing=[3, 7])


@pytest.fixture
def passes(cloud: SiteConfig) -> list[JobSpec]:
    """A second pass of which two shards are missing, a fit, a calibration."""
    wanted = Request(checkpoint=MODELS / "run", shards=8)
    return [
        *catalogue.components("road_anomaly", wanted, cloud, run=MODELS / "run", missing=[3, 7]),
        catalogue.fit("cityscapes", wanted, cloud),
        catalogue.calibration("lost_and_found", wanted, cloud),
    ]


@pytest.fixture
def every_kind(
    cloud: SiteConfig, finetune: JobSpec, shards: list[JobSpec], passes: list[JobSpec]
) -> Callable[[KubernetesProfile], list[dict[str, Any]]]:
    """All objects that jobs become: PyTorchJob of one and two nodes, TrainJob, shards, merge, passes, ConfigMaps."""

    def make(profile: KubernetesProfile) -> list[dict[str, Any]]:
        two = finetune.model_copy(update={"nodes": 2, "name": "two"})
        trainer = profile.model_copy(update={"api": "trainjob"})
        jobs = [(finetune, profile), (two, profile), *((spec, profile) for spec in (*shards, *passes))]
        jobs.append((finetune.model_copy(update={"name": "trainer"}), trainer))
        return [made for spec, used in jobs for made in documents(spec, cloud, used)]

    return make
