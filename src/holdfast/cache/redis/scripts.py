"""The scripts that run inside Redis, where nobody comes between a look and the write after it.

A version has 64 bits, more than the numbers of Lua can hold, and the order of its strings depends
on the server's language. So two versions are compared as two halves each. Source: the scripting
chapter of the Redis documentation; `struct` is one of the libraries that Redis gives to scripts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from holdfast.cache.redis.commands import NO_LIST, Command, Word, command

_COMPARE = """
local function version(blob)
  if #blob < 12 then return '\\0\\0\\0\\0\\0\\0\\0\\0' end
  return string.sub(blob, 5, 12)
end
local function at_most(one, other)
  local a, b = struct.unpack('>I4I4', one)
  local c, d = struct.unpack('>I4I4', other)
  return a < c or (a == c and b <= d)
end
"""

# What holds no string holds no blob: MGET says so too, and SET replaces it.
_HELD = """
local function held(key)
  local found = redis.pcall('GET', key)
  if type(found) ~= 'table' then return found end
  if string.sub(found.err, 1, 9) == 'WRONGTYPE' then return false end
  return redis.call('GET', key)
end
"""


class Script:
    """A script, known to the server by its digest once it has run there.

    Args:
        name: for people who look at what runs on their server; it has a number, to be raised with
            each change.
    """

    __slots__ = ("_digest", "_text")

    def __init__(self, name: str, text: str) -> None:
        self._text = f"-- holdfast: {name}\n{text.strip()}\n"
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def calls(
        self, keys: Sequence[str], words: Sequence[Word], items: int = NO_LIST
    ) -> tuple[Command, Command]:
        """The command that names the script, and the one to send if the server has forgotten it."""
        rest = (len(keys), *keys, *words)
        short = command("EVALSHA", self._digest, *rest, key=keys[0], items=items)
        return short, command("EVAL", self._text, *rest, key=keys[0], items=items)


WRITE: Final = Script(
    "write 1",
    _COMPARE
    + _HELD
    + """
local channel = ARGV[1]
local answers = {}
for number, key in ipairs(KEYS) do
  local blob, ttl, note = ARGV[3 * number - 1], ARGV[3 * number], ARGV[3 * number + 1]
  local there = held(key)
  if there and at_most(version(blob), version(there)) then
    answers[number] = version(there)
  else
    if ttl == '0' then redis.call('SET', key, blob)
    else redis.call('SET', key, blob, 'PX', ttl) end
    if note ~= '' then redis.call('PUBLISH', channel, note) end
    answers[number] = ''
  end
end
return answers
""",
)
"""Each blob, unless the key holds its version or a newer one: empty, or that version."""

RAISE: Final = Script(
    "raise 1",
    _COMPARE
    + _HELD
    + """
local there = held(KEYS[1])
if there and #there == 8 and at_most(ARGV[1], there) then return there end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return ARGV[1]
""",
)
"""A floor, unless it is as high already: what it is now."""

ADD: Final = Script(
    "add 1",
    _COMPARE
    + """
local amount, blank, ttl, dead = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local there = redis.call('GET', KEYS[1])
local kind = 1
if there and not at_most(version(there), dead) then kind = string.byte(there, 4) % 4 end
local value = 0
if kind == 0 then return 'kind' end
if kind == 3 then
  local digits = string.sub(there, #blank + 1)
  if #digits > 17 or not string.find(digits, '^%-?%d+$') then return 'kind' end
  value = tonumber(digits)
end
local most = 9007199254740992
if (amount > 0 and value > most - amount) or (amount < 0 and value < -most - amount) then
  return 'range'
end
local sum = string.format('%.0f', value + amount)
if kind == 3 then
  redis.call('SET', KEYS[1], string.sub(there, 1, #blank) .. sum, 'KEEPTTL')
elseif ttl == '0' then redis.call('SET', KEYS[1], blank .. sum)
else redis.call('SET', KEYS[1], blank .. sum, 'PX', ttl) end
return sum
""",
)
"""A counter: its digits, or why not. Kinds as in `entry.py`: 0 a value, 1 an absence, 2 a
tombstone, 3 a counter. Neither comparison with `most` can be off, as no sum is formed."""

LEASE: Final = Script(
    "lease 1",
    """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""",
)
"""A lease, also for whoever has it and asks again because the answer was lost: 1 or 0."""

RELEASE: Final = Script(
    "release 1",
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
)
