"""Words around numbers and names, for sentences of any room."""

from __future__ import annotations

from collections.abc import Sequence


def counted(n: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "pair"), counted(8, "pair")
    ('1 pair', '8 pairs')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and" before the last.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def duration(seconds: float) -> str:
    """A duration.

    >>> duration(8.04), duration(75), duration(3725)
    ('8.0 s', '1 min 15 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def in_all_and_active(total: int, active: int) -> str:
    """Parameters in words: "46,702,792,704 parameters, 12,879,925,248 active"; one number where they are the same."""
    return f"{total:,} parameters" + ("" if active == total else f", {active:,} active")
