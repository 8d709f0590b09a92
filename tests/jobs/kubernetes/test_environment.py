"""What operators put into a pod's environment, as numbers of pods and shards; and what is missing, by name."""

from pathlib import Path

import pytest

from abet.errors import UsageError
from jobs.kubernetes.environment import Need, Nodes, nodes_of, parse_need, require, shard_of

MEETING = {"MASTER_ADDR": "finetune-master-0", "MASTER_PORT": "23456"}
TWO = Nodes(count=2, rank=1, rendezvous="finetune-master-0:23456")


@pytest.mark.parametrize(
    ("environment", "nodes"),
    [
        ({}, Nodes()),
        # training operator 1.9, two pods of eight processes: RANK is the pod's, WORLD_SIZE counts processes
        (
            {
                **MEETING,
                **{"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "8"},
                **{"RANK": "1", "WORLD_SIZE": "16"},
            },
            TWO,
        ),
        # one pod of it
        ({**MEETING, "PET_NNODES": "1", "PET_NODE_RANK": "0", "RANK": "0", "WORLD_SIZE": "8"}, Nodes()),
        # Kubeflow Trainer: PET_ alone
        (
            {
                **{"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "auto"},
                **{"PET_MASTER_ADDR": "finetune-master-0", "PET_MASTER_PORT": "23456"},
            },
            TWO,
        ),
        # an operator older than 1.7: WORLD_SIZE counts pods
        ({**MEETING, "RANK": "1", "WORLD_SIZE": "2"}, TWO),
        ({**MEETING, "RANK": "1", "WORLD_SIZE": "16", "PET_NPROC_PER_NODE": "8"}, TWO),
    ],
)
def test_pods_and_the_place_where_they_meet(environment: dict[str, str], nodes: Nodes) -> None:
    assert nodes_of(environment) == nodes


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PET_NNODES": "1:4"}, "PET_NNODES=1:4: expected a number; elastic ranges"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK=one: expected a number"),
        ({**MEETING, "RANK": "2", "WORLD_SIZE": "2"}, "number 2 of 2: pods are numbered from 0"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "0"}, "2 pods train together, and neither PET_MASTER_ADDR"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nodes_of(environment)


def test_the_index_of_a_pod_chooses_its_shard() -> None:
    assert [shard_of((3, 7), {"JOB_COMPLETION_INDEX": str(index)}) for index in (0, 1)] == [3, 7]


@pytest.mark.parametrize("index", ["", "2", "-1", "x"])
def test_an_index_that_has_no_shard_is_refused(index: str) -> None:
    with pytest.raises(UsageError, match=f"JOB_COMPLETION_INDEX={index}: expected an index below 2"):
        shard_of((3, 7), {"JOB_COMPLETION_INDEX": index})


def test_everything_that_is_missing_is_named_with_its_remedy(tmp_path: Path) -> None:
    needs = [parse_need("AWS_ACCESS_KEY_ID=secret/abet-s3"), parse_need("ABET_SITE=configmap/finetune-site")]
    site = tmp_path / "abet.site.yaml"
    environment = {"ABET_SITE": str(site)}
    with pytest.raises(UsageError) as refusal:
        require(needs, environment)
    assert "AWS_ACCESS_KEY_ID: secret abet-s3 is not in this namespace, or has no such key" in str(refusal.value)
    assert "kubectl create secret generic abet-s3 --from-literal=AWS_ACCESS_KEY_ID=..." in str(refusal.value)
    assert "ABET_SITE: configmap finetune-site is not in this namespace" in str(refusal.value)
    site.touch()
    require(needs, {**environment, "AWS_ACCESS_KEY_ID": "k"})


@pytest.mark.parametrize("text", ["A", "A=secret", "A=secret/", "A=pod/x", "=secret/x"])
def test_a_need_says_where_it_comes_from(text: str) -> None:
    assert parse_need("A=secret/x") == Need(variable="A", kind="secret", name="x")
    with pytest.raises(UsageError, match="expected VARIABLE=secret/NAME or VARIABLE=configmap/NAME"):
        parse_need(text)
