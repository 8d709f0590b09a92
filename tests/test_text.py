"""Names from files, made safe to print; several lines as one; counts with their nouns; differences."""

from abet.text import counted, one_line, points, printable


def test_printable_text_is_kept_and_everything_else_escaped() -> None:
    assert printable("Straße [1] 道路") == "Straße [1] 道路"
    assert printable("\x1b]0;t\x07\n\u202e\udc80") == r"\x1b]0;t\x07\n\u202e\udc80"


def test_long_text_is_cut() -> None:
    assert printable("a" * 10**7, limit=10) == "aaaaaaa..."
    assert printable("a" * 10, limit=10) == "a" * 10


def test_lines_become_one() -> None:
    assert one_line("refused:\n  leave out: --a\n\n  add: --b\n") == "refused: leave out: --a; add: --b"
    assert one_line("one") == one_line("one", limit=3) == "one"
    assert one_line("") == ""


def test_one_line_is_cut_in_the_middle() -> None:
    text = "what happened\n" + 500 * "x" + "\nremedy"
    for limit in (60, 61, 600):
        cut = one_line(text, limit=limit)
        assert len(cut) == min(limit, len(one_line(text)))
        assert cut.startswith("what happened; x")
        assert cut.endswith("x; remedy")


def test_one_is_singular_and_every_other_count_plural() -> None:
    assert [counted(count, "shard") for count in (0, 1, 2, 1203)] == ["0 shards", "1 shard", "2 shards", "1,203 shards"]
    assert counted(2, "copy", "copies") == "2 copies"
    assert counted(1, "copy", "copies") == "1 copy"


def test_the_sign_of_a_difference_is_that_of_a_figure_that_shows() -> None:
    """What is not 0 never reads as 0: by its interval's ends a model is better, worse or neither."""
    assert [points(share) for share in (0.0436, -0.1801, -0.00006)] == ["+4.36", "-18.01", "-0.01"]
    for share in (-4.9e-5, 4.9e-5, -3.2e-7, 1e-9):
        shown = float(points(share))
        assert abs(shown / (100 * share) - 1) <= 0.5
    assert points(0.0) == points(-0.0) == "+0.00"
