"""`python -m jobs ... --on kubernetes` from the command line to kubectl, which a program stands in for."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.records import records
from tests.conftest import Finished
from tests.jobs.conftest import Jobs, program, write_site

# Notes what it is asked and given; answers as the files beside it say
KUBECTL = """#!{python}
import json, os, sys
from pathlib import Path
folder = Path(os.environ["KUBECTL"])
words = sys.argv[1:]
given = sys.stdin.read() if "-f" in words and "-" in words else ""
with (folder / "calls").open("a") as file:
    file.write(json.dumps([words, given]) + "\\n")
refused = folder / "refused"
if words[0] == "create" and refused.exists():
    part, dry, said = refused.read_text().split("|")
    if part in given and dry.startswith("dry") == ("--dry-run=server" in words):
        if dry.endswith("once"):
            refused.unlink()
        sys.exit(said)
if words[0] == "get":
    answer = folder / words[1].partition(".")[0]
    print(answer.read_text() if answer.exists() else "", end="")
if words == ["config", "current-context"]:
    print("lab")
if words[0] == "logs":
    print("log of", words[1])
"""


class Kubectl:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def calls(self, verb: str) -> list[tuple[list[str], list[Any]]]:
        if not (self.folder / "calls").exists():
            return []
        lines = [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        return [(words, list(yaml.safe_load_all(given))) for words, given in lines if words[0] == verb]

    def refuse(self, part: str, said: str, *, dry: bool = True, once: bool = False) -> None:
        (self.folder / "refused").write_text(f"{part}|{'dry' if dry else 'wet'}{' once' * once}|{said}")

    def answer(self, what: str, content: Any) -> None:
        (self.folder / what).write_text(json.dumps(content))


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    program(tmp_path / "bin" / "kubectl", KUBECTL)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "kubectl").mkdir()
    monkeypatch.setenv("KUBECTL", str(tmp_path / "kubectl"))
    values = {
        **{"artifacts": "s3://models/abet", "image": "registry.example.org/abet:1", "jobs": str(tmp_path / "jobs")},
        "data": {"cityscapes": "s3://datasets/cityscapes", "road_anomaly": "s3://datasets/road_anomaly"},
    }
    monkeypatch.setenv("ABET_SITE", str(write_site(tmp_path / "site.yaml", **values)))
    return Kubectl(tmp_path / "kubectl")


FINETUNE = ("submit", "cityscapes_finetune", "--snapshot", "s3://models/abet/pretrain", "--on", "kubernetes")


def submitted(finished: Finished) -> Finished:
    assert finished.code == 0, finished.err
    return finished


def test_a_submission_asks_first_and_then_creates(jobs: Jobs, kubectl: Kubectl, tmp_path: Path) -> None:
    done = submitted(jobs(*FINETUNE))
    (dry, looked), (wet, made) = kubectl.calls("create")
    assert "--dry-run=server" in dry
    assert "--dry-run=server" not in wet
    assert looked == made
    assert [each["kind"] for each in made] == ["ConfigMap", "PyTorchJob"]
    name = made[1]["metadata"]["name"]
    assert name.startswith("cityscapes-finetune-")
    (record,) = records(tmp_path / "jobs")
    assert (record.job.on, record.job.number) == ("kubernetes", f"pytorchjobs.kubeflow.org/{name}")
    assert (record.job.context, record.job.namespace) == ("lab", None)
    assert f"as Kubernetes pytorchjobs.kubeflow.org/{name}" in done.out


def test_each_submission_takes_a_name_of_its_own(jobs: Jobs, kubectl: Kubectl) -> None:
    for _ in range(3):
        submitted(jobs(*FINETUNE))
    assert len({made[1]["metadata"]["name"] for words, made in kubectl.calls("create")}) == 3


def test_a_long_name_is_cut_so_that_operators_can_append_to_it(jobs: Jobs, kubectl: Kubectl) -> None:
    submitted(jobs(*FINETUNE, "--name", "a" * 50))
    name = kubectl.calls("create")[-1][1][1]["metadata"]["name"]
    assert len(name) == 48
    assert name.startswith("a" * 42 + "-")


def test_a_dry_run_prints_the_manifests_and_asks_nobody(jobs: Jobs, kubectl: Kubectl) -> None:
    shown = list(yaml.safe_load_all(submitted(jobs(*FINETUNE, "--dry-run")).out))
    assert [each["kind"] for each in shown] == ["ConfigMap", "PyTorchJob"]
    assert kubectl.calls("create") == []


def test_the_profile_may_be_named(jobs: Jobs, kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("api: trainjob\nnamespace: perception\n")
    submitted(jobs(*FINETUNE, "--profile", tmp_path / "mine.yaml"))
    (dry, looked), (_, first), (_, second) = kubectl.calls("create")
    assert "--dry-run=server" in dry
    assert [[each["kind"] for each in made] for made in (looked, first, second)] == [
        ["ConfigMap", "TrainingRuntime"],
        ["ConfigMap", "TrainingRuntime"],
        ["TrainJob"],
    ]
    assert {each["metadata"]["namespace"] for each in (*first, *second)} == {"perception"}


def test_a_runtime_that_is_not_seen_yet_is_waited_for(jobs: Jobs, kubectl: Kubectl, tmp_path: Path) -> None:
    said = "specified trainingRuntime must be created before the TrainJob"
    kubectl.refuse("kind: TrainJob", said, dry=False, once=True)
    (tmp_path / "mine.yaml").write_text("api: trainjob\n")
    submitted(jobs(*FINETUNE, "--profile", tmp_path / "mine.yaml"))
    assert [len(made) for _, made in kubectl.calls("create")] == [2, 2, 1, 1]


def test_whoever_does_not_wait_takes_the_pods_their_grace(jobs: Jobs, kubectl: Kubectl, tmp_path: Path) -> None:
    submitted(jobs(*FINETUNE))
    (record,) = records(tmp_path / "jobs")
    kubectl.answer("pytorchjobs", {"status": {}})
    submitted(jobs("cancel", record.job.id, "--now"))
    *_, last = (words for words, _ in kubectl.calls("delete"))
    assert last[1] == "pods"
    assert {"--force", "--grace-period=0"} <= set(last)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            'error: resource mapping not found: no matches for kind "PyTorchJob" in version "kubeflow.org/v1"',
            "the training operator 1.x is not installed there",
        ),
        ("Error from server (Forbidden): exceeded quota: gpus", "ask for less"),
        ('Error from server (NotFound): namespaces "x" not found', "set `namespace:`"),
        ("The connection to the server localhost:8080 was refused", "kubectl cluster-info"),
        ("something new", "look at it with --dry-run"),
    ],
)
def test_a_refusal_is_said_with_its_remedy_and_leaves_nothing(
    said: str, remedy: str, jobs: Jobs, kubectl: Kubectl, tmp_path: Path
) -> None:
    kubectl.refuse("PyTorchJob", said)
    refused = jobs(*FINETUNE)
    assert refused.code == 2
    assert said in refused.err
    assert remedy in refused.err
    assert len(kubectl.calls("create")) == 1
    assert records(tmp_path / "jobs") == []


forgotten: list[tuple[str, int, int]] = []


def evaluate(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, missing: list[int], *more: str) -> Finished:
    monkeypatch.setattr("abet.shard_set.missing_shards", lambda *_: missing)
    monkeypatch.setattr("abet.begun.read_from_run", lambda *_: {"shards": 8})
    monkeypatch.setattr("jobs.executors.kubernetes.clear_failure", lambda *told: forgotten.append(told[1:4]))
    words = ("--dataset", "road_anomaly", "--checkpoint", "s3://models/abet/run", "--run", "run")
    return jobs("submit", "evaluate", *words, "--on", "kubernetes", *more)


def test_only_what_kubectl_tells_a_user_is_passed_on(jobs: Jobs, kubectl: Kubectl) -> None:
    noise = 'E1126 03:12:01.123456  77 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API"'
    advice = "; if you choose to ignore these errors, turn validation off with --validate=false"
    kubectl.refuse("PyTorchJob", f"{noise}\nerror: error validating data: no connection{advice}")
    refused = jobs(*FINETUNE)
    assert "error validating data: no connection; is the cluster up" in refused.err
    assert "memcache" not in refused.err
    assert "--validate=false" not in refused.err


def test_the_server_that_the_environment_names_is_told_to_the_pods(
    jobs: Jobs, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    config, _ = yaml.safe_load_all(submitted(jobs(*FINETUNE, "--dry-run")).out)
    assert yaml.safe_load(config["data"]["abet.site.yaml"])["s3"] == {"endpoint": "https://s3.example.org"}


def test_an_evaluation_is_the_missing_shards_and_a_merge(
    jobs: Jobs, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten.clear()
    submitted(evaluate(jobs, monkeypatch, [3, 7]))
    assert forgotten == [("road_anomaly", shard, 8) for shard in (3, 7)]
    shards, merge = (made[1] for words, made in kubectl.calls("create")[2:])
    assert shards["spec"]["completions"] == 2
    assert "--wait-minutes" in merge["spec"]["template"]["spec"]["containers"][0]["args"]


def test_what_was_created_before_a_late_refusal_is_deleted_again(
    jobs: Jobs, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kubectl.refuse("name: merge-road-anomaly", "Error from server: no", dry=False)
    assert evaluate(jobs, monkeypatch, [3]).code == 2
    created = [each["metadata"]["name"] for words, made in kubectl.calls("create")[2:] for each in made]
    deleted = [each["metadata"]["name"] for words, made in kubectl.calls("delete") for each in made]
    assert sorted(deleted) == sorted(created)
    assert records(tmp_path / "jobs") == []


def test_a_pipeline_is_refused_with_the_way_to_do_it(jobs: Jobs, kubectl: Kubectl) -> None:
    refused = jobs("submit", "pipeline", "--pretrain", "demo_pretrain", "--snapshot", "none", "--on", "kubernetes")
    assert refused.code == 2
    assert kubectl.calls("create") == []


def test_without_kubectl_nothing_is_tried(jobs: Jobs, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent / "no-such"))
    refused = jobs(*FINETUNE)
    assert refused.code == 2
    assert "kubectl is not on PATH" in refused.err


def test_status_logs_and_cancel(jobs: Jobs, kubectl: Kubectl, tmp_path: Path) -> None:
    submitted(jobs(*FINETUNE))
    (record,) = records(tmp_path / "jobs")
    name = str(record.job.number).partition("/")[2]
    kubectl.answer("pytorchjobs", {"status": {}})
    pod = {"metadata": {"name": f"{name}-master-0", "uid": "1"}, "spec": {"nodeName": "n1"}}
    kubectl.answer("pods", {"items": [{**pod, "status": {"phase": "Running"}}]})
    shown = re.sub(r"[\s│]", "", submitted(jobs("status")).out)
    assert f"{name}running1{name}-master-0onn1" in shown
    submitted(jobs("logs", record.job.id))
    assert kubectl.calls("logs") == [(["logs", f"{name}-master-0", "--context", "lab"], [])]
    submitted(jobs("cancel", record.job.id))
    first, second = (words for words, _ in kubectl.calls("delete"))
    assert first[1:4] == ["pytorchjobs.kubeflow.org", name, "--cascade=foreground"]  # there until its pods have saved
    assert second[1:3] == ["configmap", f"{name}-site"]
    (kubectl.folder / "pytorchjobs").unlink()
    assert jobs("status", record.job.id).code == 1
    assert "cancelled" in jobs("status").out


def test_followed_logs_go_on_with_the_pod_that_comes_next(jobs: Jobs, kubectl: Kubectl, tmp_path: Path) -> None:
    from jobs.kubernetes import logs

    submitted(jobs(*FINETUNE))
    (record,) = records(tmp_path / "jobs")
    states = iter([False, False, False, True])
    running = iter(["1", "1", "2", "2"])

    def asked(_: Any) -> list[dict[str, Any]]:
        uid = next(running)
        return [{"metadata": {"name": "m-0", "uid": uid}, "status": {"phase": "Running"}}]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "POLL_SECONDS", 0)
        patch.setattr(logs, "pods_of", asked)
        patch.setattr(logs, "status_of", lambda _: type("S", (), {"ended": next(states)})())
        logs.print_logs(record, follow=True)
    told = [[word for word in words if not word[0].isdigit()] for words, _ in kubectl.calls("logs")]
    whole, again = ["logs", "m-0", "--context", "lab", "--follow"], "--since-time"
    # A stream that broke off, the next pod, and what it had still to say when the job had ended
    assert told == [whole, [*whole, again], whole, [*whole[:-1], again]]
