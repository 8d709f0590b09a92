"""Names from files, made safe to print."""

from abet.text import printable


def test_printable_text_is_kept_and_everything_else_escaped() -> None:
    assert printable("Straße [1] 道路") == "Straße [1] 道路"
    assert printable("\x1b]0;t\x07\n\u202e\udc80") == r"\x1b]0;t\x07\n\u202e\udc80"


def test_long_text_is_cut() -> None:
    assert printable("a" * 10**7, limit=10) == "aaaaaaa..."
    assert printable("a" * 10, limit=10) == "a" * 10
