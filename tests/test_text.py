"""Names from files, made safe to print; counts with their nouns."""

from abet.text import counted, printable


def test_printable_text_is_kept_and_everything_else_escaped() -> None:
    assert printable("Straße [1] 道路") == "Straße [1] 道路"
    assert printable("\x1b]0;t\x07\n\u202e\udc80") == r"\x1b]0;t\x07\n\u202e\udc80"


def test_long_text_is_cut() -> None:
    assert printable("a" * 10**7, limit=10) == "aaaaaaa..."
    assert printable("a" * 10, limit=10) == "a" * 10


def test_one_is_singular_and_every_other_count_plural() -> None:
    assert [counted(count, "shard") for count in (0, 1, 2, 1203)] == ["0 shards", "1 shard", "2 shards", "1,203 shards"]
    assert counted(2, "copy", "copies") == "2 copies"
    assert counted(1, "copy", "copies") == "1 copy"
