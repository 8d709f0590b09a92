"""JobSpecs become objects that the cluster takes, and that do what the jobs mean."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from abet.errors import UsageError
from abet.site import SiteConfig, load_site
from jobs import catalogue
from jobs.catalogue import Request
from jobs.kubernetes import manifests
from jobs.kubernetes.manifests import documents, require_independent, to_yaml, write_all
from jobs.kubernetes.profile import Claim, KubernetesProfile, Toleration, load_profile
from jobs.kubernetes.rules import pods, problems
from jobs.spec import JobSpec
from tests.jobs.conftest import ROOT
from tests.jobs.kubernetes.schemas import faults

FULL = KubernetesProfile(
    namespace="perception",
    service_account="abet",
    image_pull_secrets=("login",),
    node_selector={"gpu": "h100"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
    priority_class="batch",
    queue="perception",
    labels={"team": "perception"},
    volumes=(Claim(claim="datasets", path="/data", read_only=True),),
)
Made = Callable[[KubernetesProfile], list[dict[str, Any]]]


def of_kind(found: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    return next(each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"]))


@pytest.mark.parametrize("profile", [KubernetesProfile(), FULL], ids=["default", "full"])
def test_every_object_is_valid_to_the_letter(profile: KubernetesProfile, every_kind: Made) -> None:
    found = every_kind(profile)
    assert {each["kind"] for each in found} == {"ConfigMap", "PyTorchJob", "TrainingRuntime", "TrainJob", "Job"}
    assert {each["metadata"]["name"]: fault for each in found if (fault := faults(each))} == {}
    assert problems(found) == []


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "k8s").glob("*.yaml") if "site" not in path.name))
def test_committed_files_are_what_is_rendered_for_the_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABET_SITE", str(ROOT / "k8s" / "site.example.yaml"))
    site, profile = load_site(), load_profile("default")
    text = (ROOT / "k8s" / name).read_text()
    assert text == manifests.render(manifests.manifests(site, profile)[name], site), "run `make manifests`"
    found = list(yaml.safe_load_all(text))
    assert [fault for each in found for fault in faults(each)] == []
    assert found[0]["kind"] == "ConfigMap"


def test_all_of_them_are_committed(cloud: SiteConfig, tmp_path: Path) -> None:
    written = {path.name for path in manifests.write_all(tmp_path, cloud, KubernetesProfile())}
    assert written == {path.name for path in (ROOT / "k8s").glob("*.yaml")} - {"site.example.yaml"}


def test_the_documentation_shows_what_is_committed() -> None:
    committed = (ROOT / "k8s" / "finetune.yaml").read_text()
    assert f"```yaml\n{committed}```" in (ROOT / "docs" / "kubernetes.md").read_text()


def test_training_is_one_master_of_eight_gpus(finetune: JobSpec, cloud: SiteConfig) -> None:
    config, job = documents(finetune, cloud, KubernetesProfile(), name="finetune-a1b2c")
    assert job["spec"]["nprocPerNode"] == "8"
    (master,) = job["spec"]["pytorchReplicaSpecs"].values()
    assert (master["replicas"], master["restartPolicy"]) == (1, "ExitCode")
    pod = master["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert "activeDeadlineSeconds" not in pod
    assert container["args"][-7:] == [
        *("--", "train", "cityscapes_finetune", "--output", "s3://models/abet/cityscapes_finetune"),
        *("--snapshot", "s3://models/abet/pretrain"),
    ]
    told = yaml.safe_load(config["data"]["abet.site.yaml"])
    assert told["artifacts"] == "s3://models/abet"
    assert told["data"]["cityscapes"] == "s3://datasets/cityscapes"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["site"]["configMap"]["name"] == config["metadata"]["name"] == "finetune-a1b2c-site"
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}


def test_further_nodes_are_workers(finetune: JobSpec, cloud: SiteConfig) -> None:
    _, job = documents(finetune.model_copy(update={"nodes": 4}), cloud, KubernetesProfile())
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert {name: replica["replicas"] for name, replica in replicas.items()} == {"Master": 1, "Worker": 3}


def test_missing_shards_are_indexes_of_one_job_and_the_merge_waits(shards: list[JobSpec], cloud: SiteConfig) -> None:
    profile = KubernetesProfile(deadline_hours=2)
    _, job = documents(shards[0], cloud, profile)
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--shards") + 1] == "3,7/8"
    assert args[args.index("--dataset") + 1] == "road_anomaly"
    _, merge = documents(shards[1], cloud, profile)
    words = merge["spec"]["template"]["spec"]["containers"][0]["args"]
    waits_minutes = int(words[words.index("--wait-minutes") + 1])
    assert 60 * waits_minutes >= job["spec"]["activeDeadlineSeconds"]
    assert merge["spec"]["activeDeadlineSeconds"] > 60 * waits_minutes


def test_a_second_pass_has_its_shards_and_nobody_waits_for_them(passes: list[JobSpec], cloud: SiteConfig) -> None:
    _, job = documents(passes[0], cloud, KubernetesProfile())
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    told = args[: args.index("--")]
    assert told[told.index("--shards") + 1] == "3,7/8"
    assert "--run" not in told
    assert args[-2:] == ["--shard", "{shard}/8"]


def test_a_fit_and_a_calibration_are_pods_of_one_gpu(passes: list[JobSpec], cloud: SiteConfig) -> None:
    for spec, disk in zip(passes[1:], ("210Gi", "60Gi"), strict=True):
        _, job = documents(spec, cloud, KubernetesProfile())
        assert job["spec"]["backoffLimit"] == 3
        (container,) = job["spec"]["template"]["spec"]["containers"]
        amounts = container["resources"]["limits"]
        assert (amounts["nvidia.com/gpu"], amounts["ephemeral-storage"]) == ("1", disk)
        assert container["args"][container["args"].index("--") + 1 :] == list(spec.command)


def test_the_time_limit_of_what_begins_anew_is_kept_by_the_pod_and_final(
    shards: list[JobSpec], passes: list[JobSpec], finetune: JobSpec, cloud: SiteConfig
) -> None:
    for spec in (*shards, *passes):
        _, job = documents(spec, cloud, KubernetesProfile())
        pod = job["spec"]["template"]["spec"]
        args = pod["containers"][0]["args"]
        limit_seconds = 60 * int(args[args.index("--time-limit-minutes") + 1])
        assert limit_seconds >= 60 * spec.time_limit_minutes
        # The cluster's own end, after which it would start another pod, comes after ours, a late image notwithstanding
        assert pod["activeDeadlineSeconds"] >= limit_seconds + pod["terminationGracePeriodSeconds"] + 300
        ignored, final = job["spec"]["podFailurePolicy"]["rules"]
        assert (ignored["action"], final["onExitCodes"]["values"]) == ("Ignore", [2, 3, 124])
    _, job = documents(finetune, cloud, KubernetesProfile())
    assert "--time-limit-minutes" not in str(job)


def test_a_claim_that_is_read_only_is_not_written(cloud: SiteConfig) -> None:
    profile = KubernetesProfile(
        volumes=(Claim(claim="all", path="/w"), Claim(claim="weights", path="/w/in", read_only=True))
    )
    for make, dataset in ((catalogue.fit, "cityscapes"), (catalogue.calibration, "road_anomaly")):
        assert documents(make(dataset, Request(checkpoint=Path("/w/x.pth")), cloud), cloud, profile)
        with pytest.raises(UsageError, match=r"writes to /w/in, and claim weights \(/w/in\) has `read_only: true`"):
            documents(make(dataset, Request(checkpoint=Path("/w/in/x.pth")), cloud), cloud, profile)


def test_whoever_applies_the_fit_is_told_to_wait_for_it() -> None:
    """Shards of an evaluation that begin before what is fitted has landed are of another one for good."""
    text = (ROOT / "k8s" / "fit.yaml").read_text()
    _, job = yaml.safe_load_all(text)
    wait = f"kubectl wait --for=condition=Complete --timeout=6h job/{job['metadata']['name']}\n"
    assert f"#   {wait}" in text.partition("apiVersion")[0]
    told = (ROOT / "docs" / "kubernetes.md").read_text().partition("kubectl apply -f k8s/fit.yaml")[2]
    assert told.index(wait) < told.index("kubectl apply -f k8s/eval.yaml")


def test_the_committed_second_pass_finds_thresholds_in_the_committed_evaluation() -> None:
    words = {}
    for name in ("eval", "components"):
        _, job = yaml.safe_load_all((ROOT / "k8s" / f"{name}.yaml").read_text())
        words[name] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--protocols" in words["eval"]
    assert words["eval"][words["eval"].index("--output") + 1] in words["components"]


def test_a_profile_reaches_the_pods(every_kind: Made) -> None:
    for job in every_kind(FULL):
        assert job["metadata"]["namespace"] == "perception"
        for _, pod in pods(job):
            assert pod["imagePullSecrets"] == [{"name": "login"}]
            assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
            assert {"name": "claim-0", "mountPath": "/data", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    job = of_kind(every_kind(FULL), "PyTorchJob")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "perception"


def test_a_merge_asks_for_no_disk_of_training_and_a_queue_counts_none(every_kind: Made) -> None:
    def disk(found: list[dict[str, Any]], name: str) -> str | None:
        job = next(each for each in found if each["metadata"]["name"] == name and pods(each))
        return pods(job)[0][1]["containers"][0]["resources"]["requests"].get("ephemeral-storage")

    found = every_kind(KubernetesProfile())
    amounts = {name: disk(found, name) for name in ("two", "eval-road-anomaly", "merge-road-anomaly")}
    assert amounts == {"two": "210Gi", "eval-road-anomaly": "60Gi", "merge-road-anomaly": "15Gi"}
    assert disk(every_kind(FULL), "two") is None


def test_what_pods_do_not_see_is_refused_with_both_ways_out(
    finetune: JobSpec, cloud: SiteConfig, tmp_path: Path
) -> None:
    here = cloud.model_copy(update={"data": {**cloud.data, "cityscapes": Path("/data/cityscapes")}})
    (tmp_path / "pretrain").mkdir()
    spec = catalogue.training("cityscapes_finetune", Request(snapshot=tmp_path / "pretrain"), here)
    with pytest.raises(UsageError, match=r"pods do not see /data/cityscapes, \S+/pretrain of.*abet sync.*`volumes:`"):
        documents(spec, here, KubernetesProfile())
    spec = catalogue.training("cityscapes_finetune", Request(snapshot="none"), here)
    config, *_ = documents(spec, here, FULL)
    assert yaml.safe_load(config["data"]["abet.site.yaml"])["data"]["cityscapes"] == "/data/cityscapes"


def test_an_image_by_its_digest_is_told_to_the_run(finetune: JobSpec, cloud: SiteConfig) -> None:
    pinned = cloud.model_copy(update={"image": "registry.example.org/abet@sha256:0123"})
    _, job = documents(finetune, pinned, KubernetesProfile())
    (container,) = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert {"name": "ABET_IMAGE_DIGEST", "value": "sha256:0123"} in container["env"]


def test_without_an_image_nothing_is_rendered(finetune: JobSpec, cloud: SiteConfig) -> None:
    with pytest.raises(UsageError, match="no image is named: `image:` in the site file"):
        documents(finetune, cloud.model_copy(update={"image": None}), KubernetesProfile())


@pytest.mark.parametrize("image", ["Registry.Corp/Bad Name:latest", "images/abet.sif"])
def test_an_image_that_no_registry_holds_is_refused(finetune: JobSpec, cloud: SiteConfig, image: str) -> None:
    with pytest.raises(UsageError, match="is no image of a registry"):
        documents(finetune, cloud.model_copy(update={"image": image}), KubernetesProfile())


def test_files_for_another_site_say_where_they_come_from(finetune: JobSpec, cloud: SiteConfig, tmp_path: Path) -> None:
    written = list(write_all(tmp_path / "new" / "folder", cloud, KubernetesProfile(), source="abet.site.yaml"))
    for path in written:
        text = path.read_text()
        assert "from abet.site.yaml: change that" in text
        assert "site.example.yaml" not in text
        assert "secret abet-s3 with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in text


def test_a_dollar_stays_a_dollar(finetune: JobSpec, cloud: SiteConfig) -> None:
    spec = finetune.model_copy(update={"command": ("train", "r", "--set", "a=$(HOME) $x")})
    _, job = documents(spec, cloud, KubernetesProfile())
    (container,) = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "a=$$(HOME) $$x"  # which Kubernetes makes into what was meant


def test_secrets_of_a_job_come_from_the_clusters(finetune: JobSpec, cloud: SiteConfig) -> None:
    spec = finetune.model_copy(update={"secrets": ("WANDB_API_KEY",)})
    _, job = documents(spec, cloud, KubernetesProfile(secret="mine", secret_keys=("AWS_PROFILE",)))
    (container,) = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    brought = {entry["name"]: entry["valueFrom"] for entry in container["env"] if "secretKeyRef" in str(entry)}
    assert brought == {
        name: {"secretKeyRef": {"name": "mine", "key": name, "optional": True}}
        for name in ("AWS_PROFILE", "WANDB_API_KEY")
    }
    with pytest.raises(UsageError, match=r"--secret WANDB_API_KEY: .* set `secret:` there"):
        documents(spec, cloud, KubernetesProfile(secret=None))


def test_no_value_of_the_environment_reaches_a_manifest(every_kind: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"):
        monkeypatch.setitem(os.environ, name, "planted-value")
    assert "planted-value" not in to_yaml(every_kind(FULL))


def test_jobs_that_wait_for_each_other_are_refused_and_a_merge_is_not(shards: list[JobSpec], finetune: JobSpec) -> None:
    require_independent(shards)
    with pytest.raises(UsageError, match="a pipeline needs jobs that wait for each other"):
        require_independent([finetune, finetune.model_copy(update={"after": ("x",)})])
    second = shards[0].model_copy(update={"kind": "components", "after": (shards[1].name,)})
    with pytest.raises(UsageError, match=r"EVAL_ARGS=--protocols.*components once the merge is done"):
        require_independent([*shards, second])
