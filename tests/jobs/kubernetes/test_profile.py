"""A cluster's habits: read strictly, and refused with the rule."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from jobs.kubernetes.profile import PROFILES, KubernetesProfile, load_profile
from tests.jobs.conftest import Jobs


def test_the_default_is_what_its_comments_say() -> None:
    assert load_profile("default") == KubernetesProfile()


def test_one_of_your_own_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("namespace: perception\nvolumes: [{claim: datasets, path: /data}]\n")
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert profile.namespace == "perception"
    assert profile.volumes[0].path == "/data"
    (tmp_path / "empty.yaml").touch()
    assert load_profile(str(tmp_path / "empty.yaml")) == KubernetesProfile()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespce: x", "did you mean 'namespace'"),
        ("namespace: Perception", "'Perception': expected a-z, 0-9 and '-'"),
        ("secret: a b", "'a b': expected a-z"),
        ("secret_keys: [AWS_KEY=planted-value]", "expected names of environment variables, never their values"),
        ("image_pull_secrets: ['no/good']", "'no/good': expected a-z"),
        ("image_pull_secrets: login", "expected a list of names: [login]"),
        ("queue: Perception Queue", "'Perception Queue': expected at most 63 letters"),
        ("labels: {team: per ception}", "'per ception': expected at most 63 letters"),
        ("labels: {'a b': x}", "'a b': expected"),
        ("node_selector: {gpu/: h100}", "'gpu/': expected"),
        ("gpu_resource: gpu", "'gpu': expected a domain, '/' and a name"),
        ("volumes: [{claim: a, path: data}]", "'data': expected an absolute path below /"),
        ("volumes: [{claim: a, path: /a/../b}]", "expected an absolute path below /"),
        ("volumes: [{claim: a, path: /}]", "expected an absolute path below /"),
        ("volumes: [{claim: a, path: /opt}]", "/opt/abet belongs to abet; choose another path"),
        ("volumes: [{claim: a, path: /scratch/x}]", "/scratch belongs to abet"),
        ("tolerations: [{effect: NoWay}]", "effect"),
        ("api: mpijob", "api"),
        ("deadline_hours: 0", "deadline_hours"),
        ("run_as_user: 0", "run_as_user"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError) as refusal:
        load_profile(str(tmp_path / "mine.yaml"))
    assert said in str(refusal.value)
    assert "planted-value" not in str(refusal.value)


def test_an_unknown_name_lists_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=f"Kubernetes profile .in {PROFILES}. 'defualt': did you mean 'default'"):
        load_profile("defualt")


def test_the_command_prints_it(jobs: Jobs) -> None:
    shown = jobs("profile", "--on", "kubernetes")
    assert shown.code == 0
    assert "k8s/profiles/default.yaml: as it should be" in shown.out
    assert "  gpu_resource: nvidia.com/gpu" in shown.out
