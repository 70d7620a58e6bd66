"""Versions that order writes across processes without asking anybody: a hybrid logical clock.

A version is a number of 64 bits: microseconds of Unix time in the upper 52 (enough until 2112), and
in the lower 12 a number of the process, so that two processes never give the same one. It follows
the clock, but never goes back and never repeats; whoever sees a version from elsewhere issues only
higher ones from then on. So what happened after another thing, as far as anybody could know, has
the higher version, even if clocks disagree. Source: Kulkarni et al., *Logical Physical Clocks*,
OPODIS 2014.

A clock far ahead would drag everybody else along. Versions more than `MOST_AHEAD` seconds in the
future are therefore not followed.
"""

from __future__ import annotations

from typing import Final

NODE_BITS: Final = 12
MOST_AHEAD: Final = 60.0
"""Seconds that a version seen elsewhere may be ahead of the clock and still be followed."""

_MOST_MICROSECONDS: Final = (1 << 52) - 1


class Versions:
    """Issues the versions of one process.

    Args:
        node: the number of the process, from 0 to 4095; taken at random.

    Not thread safe: whoever owns it uses it from one thread.
    """

    __slots__ = ("_last", "_node")

    def __init__(self, node: int) -> None:
        self._node = node & ((1 << NODE_BITS) - 1)
        self._last = 0

    def renumber(self, node: int) -> None:
        """Go on as another process, after a fork."""
        self._node = node & ((1 << NODE_BITS) - 1)

    def issue(self, wall: float) -> int:
        """A version higher than all issued or seen before; `wall` in Unix seconds."""
        now = min(max(int(wall * 1e6), 0), _MOST_MICROSECONDS)
        self._last = max(now, self._last + 1)
        return self._last << NODE_BITS | self._node

    @property
    def last(self) -> int:
        """The highest version that can have been issued or seen so far."""
        return self._last << NODE_BITS | ((1 << NODE_BITS) - 1)

    def see(self, version: int, wall: float) -> None:
        """Go past `version`, unless its clock is so far ahead that it must be wrong."""
        seen = version >> NODE_BITS
        if self._last < seen <= (wall + MOST_AHEAD) * 1e6:
            self._last = seen


def wall_of(version: int) -> float:
    """When a version was issued, in Unix seconds."""
    return (version >> NODE_BITS) / 1e6
