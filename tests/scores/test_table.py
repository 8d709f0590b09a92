"""The table says what each score is and needs, and is listed without computing anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from abet.scores import SCORES, missing

CLOSED_FORM = ["abet", "energy", "entropy", "msp", "max_logit", "godin", "max_cosine"]
SHAPED = ["react_abet", "react_energy", "dice_abet", "dice_energy", "ash_abet", "ash_energy"]


@pytest.mark.parametrize("head", ["none", "baseline"])
def test_a_head_without_temperature_names_what_it_does_not_define(head):
    reasons = {key: missing(score, head) for key, score in SCORES.items()}
    absent = {key for key, reason in reasons.items() if reason is not None}
    assert absent == {"abet", "godin", "max_cosine", "react_abet", "dice_abet", "ash_abet"}
    assert all(key in reasons[key] and head in reasons[key] for key in absent)
    assert "cosine" in reasons["max_cosine"]
    assert "temperature" in reasons["godin"]


def test_the_learned_head_defines_every_score():
    assert [missing(score, "learned") for score in SCORES.values()] == [None] * len(SCORES)


def test_the_table_explains_itself():
    assert list(SCORES) == [*CLOSED_FORM, "sml", "mahalanobis", "knn", *SHAPED]
    for key, score in SCORES.items():
        assert score.key == key
        assert score.formula
        assert "arXiv" in score.source
        assert score.needs


def test_what_is_fitted_is_said():
    unfitted = {key for key, score in SCORES.items() if score.fitted is None}
    assert unfitted == {*CLOSED_FORM, "ash_abet", "ash_energy"}


def test_the_table_is_listed_without_torch():
    code = "import sys; from abet.scores import SCORES; list(SCORES); print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
