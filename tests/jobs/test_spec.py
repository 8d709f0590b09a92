"""JobSpec: names that every scheduler takes, secrets by name alone, shards that fit their command."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.errors import UsageError
from abet.settings import parse
from jobs.catalogue import job_name
from jobs.spec import JOB_NAME, JobSpec, Mount


def spec(**values: Any) -> JobSpec:
    return parse(JobSpec, {"name": "job", "kind": "merge", "command": ["merge", "run"], **values}, source="job")


@pytest.mark.parametrize("name", ["a", "finetune", "eval-road-anomaly-2", "a" * 50])
def test_a_name_that_is_a_label_everywhere(name: str) -> None:
    assert spec(name=name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "my job",
        "it's",
        'say "x"',
        "#1",
        "a\nb",
        "a\n",
        "$(id)",
        "`id`",
        "Finetune",
        "a" * 51,
        "1a",
        "-a",
        "a-",
        "a_b",
        "ä",
    ],
)
def test_any_other_name_is_refused_with_the_rule_and_the_remedy(name: str) -> None:
    with pytest.raises(UsageError) as error:
        spec(name=name)
    assert str(error.value) == (
        f"job: name: {name!r}: expected a-z, 0-9 and '-', first a letter, at most 50 characters; give --name"
    )


@given(st.text(alphabet="aZ09_-. äß#\n", max_size=80))
def test_every_recipe_has_a_legal_name(text: str) -> None:
    assert JOB_NAME.fullmatch(job_name(text))


@pytest.mark.parametrize("word", ["a\nb", "a\rb", "a\0b"])
def test_an_argument_with_a_line_break_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="line break cannot be quoted"):
        spec(command=["merge", word])


@pytest.mark.parametrize(
    "secrets",
    [["WANDB_API_KEY=hunter2"], ["hunter2!"], "hunter2", {"WANDB_API_KEY": "hunter2"}, [{"KEY": "hunter2"}], [""]],
)
def test_a_secret_is_a_name_and_what_is_none_is_not_repeated(secrets: object) -> None:
    with pytest.raises(UsageError, match="names of environment variables, never their values") as error:
        spec(secrets=secrets)
    assert "hunter2" not in str(error.value)
    assert spec(secrets=["WANDB_API_KEY"]).secrets == ("WANDB_API_KEY",)


@pytest.mark.parametrize("values", [{"shards": [1, 2]}, {"command": ["evaluate", "--shard", "{shard}/2"]}])
def test_shards_and_their_place_in_the_command_go_together(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="go together"):
        spec(**values)


def test_each_shard_has_its_command() -> None:
    array = spec(command=["evaluate", "--shard", "{shard}/8"], shards=[3, 7])
    assert [array.for_shard(shard)[-1] for shard in array.shards] == ["3/8", "7/8"]
    with pytest.raises(UsageError, match="twice"):
        spec(command=["evaluate", "{shard}"], shards=[1, 1])


@pytest.mark.parametrize("path", ["relative", "/a\nb"])
def test_a_mount_is_an_absolute_path(path: str) -> None:
    with pytest.raises(UsageError, match="absolute path"):
        parse(Mount, {"source": path, "target": "/x"}, source="profile")


def test_a_misspelt_field_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'memory_gib'"):
        spec(memory_gb=3)


def test_the_grace_must_fit_into_the_time_limit() -> None:
    assert spec(time_limit_minutes=2, grace_seconds=119).grace_seconds == 119
    with pytest.raises(UsageError) as error:
        spec(time_limit_minutes=2, grace_seconds=120)
    assert "120 does not fit into the time limit of 120 s (2 min)" in str(error.value)
    assert "lower --grace-seconds, or raise --time-limit-minutes" in str(error.value)


@pytest.mark.parametrize(("minutes", "grace"), [(1, 30), (3, 90), (4, 120), (600, 120)])
def test_a_short_job_has_a_grace_that_fits(minutes: int, grace: int) -> None:
    assert spec(time_limit_minutes=minutes).grace_seconds == grace
