"""Writing the site file: the example's words stay, the user's values go in, and what is written can be read."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from abet.errors import UsageError
from abet.site import load_site
from abet.site_file import fault_of, parse_changes, questions, read_answers, remark_on, render, write_site

EXAMPLE = Path(__file__).parents[1] / "abet.site.example.yaml"
DEFAULTS = {question.key: question.default for question in questions()}


def comments(text: str) -> list[str]:
    """Lines that explain, not those that could hold a value."""
    return [line for line in text.splitlines() if line.lstrip().startswith("#") and line.rstrip().endswith((".", ":"))]


def test_the_examples_comments_are_kept_and_only_values_change() -> None:
    text = render({**DEFAULTS, "artifacts": "s3://models/abet", "data.cityscapes": "/data/c"})
    assert comments(text) == comments(EXAMPLE.read_text())
    assert len(text.splitlines()) == len(EXAMPLE.read_text().splitlines())
    assert yaml.safe_load(text) == {
        "data": {"cityscapes": "/data/c"},
        "weights": "weights",
        "artifacts": "s3://models/abet",
        "profile": "default",
        "kubernetes": "default",
        "jobs": "runs/jobs",
        "s3": {"checksums": "when_supported", "patience_seconds": 120},
    }


def test_without_any_answer_the_file_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = load_site()
    write_site(tmp_path / "abet.site.yaml", {})
    assert load_site() == defaults
    write_site(tmp_path / "abet.site.yaml", DEFAULTS)
    assert load_site() == defaults


@given(st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1))
def test_any_path_is_read_back_as_it_was_given(text: str) -> None:
    path = f"/{text}x"
    assert yaml.safe_load(render({"weights": path}))["weights"] == path


@pytest.mark.parametrize("value", ["a: b", "#1", "yes", "null", "1.0", "- x", "'", '"', "{}", "$(rm)", "a #b", "~/w"])
def test_texts_that_yaml_would_take_for_something_else_are_quoted(value: str) -> None:
    assert yaml.safe_load(render({"image": value}))["image"] == value


def test_what_was_written_is_read_as_the_next_defaults(tmp_path: Path) -> None:
    answers = {**DEFAULTS, "scratch": "/local", "s3.endpoint": "http://localhost:1", "data.mapillary": "s3://sets/m"}
    write_site(tmp_path / "site.yaml", answers)
    found = read_answers(tmp_path / "site.yaml")
    assert found == {key: value for key, value in answers.items() if value is not None}


def test_every_question_is_explained_and_has_a_line_in_the_example() -> None:
    for question in questions():
        assert question.meaning
        assert render({question.key: question.default or {"s3.endpoint": "http://x"}.get(question.key, "x")})
        assert question.default is None or fault_of(question.key, question.default) is None


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("artifacts", "s3://x", "no name of a bucket"),
        ("weights", "s3://models/w", "no folder of this machine"),
        ("jobs", "s3://models/j", "no folder of this machine"),
        ("s3.endpoint", "minio", "begins with http"),
        ("s3.checksums", "never", "when_required"),
        ("s3.patience_seconds", "-1", "greater than or equal to 0"),
        ("data.cityscapes", "gs://x", "s3://bucket/prefix"),
    ],
)
def test_a_wrong_value_is_explained(key: str, value: str, said: str) -> None:
    assert said in (fault_of(key, value) or "")
    with pytest.raises(UsageError):
        render({key: "" if value == "s3://models/w" else value, "artifacts": "gs://x"})


def test_what_is_not_there_is_remarked_and_not_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert remark_on("data.cityscapes", "there", tmp_path) is None
    assert remark_on("data.cityscapes", "s3://sets/c", tmp_path) is None
    assert remark_on("weights", "absent", tmp_path) is None  # abet makes it
    assert "not there" in (remark_on("data.cityscapes", "absent", tmp_path) or "")


def test_changes_name_their_key() -> None:
    assert parse_changes(["artifacts=s3://a/b=c", "image="]) == {"artifacts": "s3://a/b=c", "image": None}
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse_changes(["artifacts"])
    with pytest.raises(UsageError, match=r"'data\.citiscapes': did you mean 'data\.cityscapes'"):
        parse_changes(["data.citiscapes=x"])
