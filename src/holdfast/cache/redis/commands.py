"""Commands as bytes, with what their replies must look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeGuard, cast

import hiredis

from holdfast.cache.port import TierError, Trouble
from holdfast.cache.redis.errors import Refusal

Word = str | bytes | int
Reply = Any
"""bytes, int, None, a list of these, or a `Refusal`."""

# Its stub says that a command has a single word.
_pack: Callable[[tuple[Word, ...]], bytes] = cast(Any, hiredis).pack_command

NO_LIST: Final = -1
_PARTS: Final = {bytes, type(None)}


def is_list(reply: Reply) -> TypeGuard[list[Any]]:
    """Whether a reply is a list, whatever is in it."""
    return isinstance(reply, list)


class Command(NamedTuple):
    """One command.

    Attributes:
        packed: as it is sent.
        key: one of its keys, which says where in a cluster it goes; empty if it has none.
        items: how long a list of bytes or None its reply is, or `NO_LIST`.
    """

    packed: bytes
    key: str
    items: int

    def fits(self, reply: Reply) -> bool:
        """Whether `reply` can be the answer: the other way to notice that they are out of step."""
        if is_list(reply):
            return len(reply) == self.items and _PARTS.issuperset(map(type, reply))
        return self.items == NO_LIST or isinstance(reply, Refusal)


def command(*words: Word, key: str = "", items: int = NO_LIST) -> Command:
    """Pack a command.

    Raises:
        TierError: `REFUSED`, it has a text that is no valid Unicode.
    """
    try:
        return Command(_pack(words), key, items)
    except UnicodeEncodeError:
        raise TierError(Trouble.REFUSED, "a key is no valid Unicode") from None


def read_all(keys: Sequence[str]) -> Command:
    """What the keys hold, as a list; None for what holds no blob."""
    return command("MGET", *keys, key=keys[0], items=len(keys))


PING: Final = command("PING")
# PING fails while a server cannot serve, when TIME still answers.
PROBE: Final = (PING, command("TIME", items=2))
