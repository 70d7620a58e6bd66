"""What the portal depends on: five things in memory, each with a switch that makes it fail.

A dependency that is down either refuses, as when nobody listens, or hangs, as when packets get
lost. The cache is the real one, on a shared tier that can do both; everything else that is in it
(breakers, memory, journal) is what runs in front of a Redis.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Literal

from holdfast.cache import ResilientCache
from holdfast.cache.port import TierError, Trouble
from holdfast.testing.tiers import ChaosTier, MemoryTier

How = Literal["refuses", "hangs"]

USERS = 40
USUALLY, SOMETIMES = 0.003, 0.03
"""Seconds for an answer; one in ten takes as long as `SOMETIMES`."""

NAMES = ("Ada", "Alan", "Barbara", "Dennis", "Donald", "Edsger", "Frances", "Grace", "John", "Ken")


class Dependency:
    """Something that answers after a while, or fails."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._random = Random(f"{name} {seed}")
        self._down: How | None = None

    def fail(self, how: How) -> None:
        """Be down from now on."""
        self._down = how

    def mend(self) -> None:
        """Be up again."""
        self._down = None

    async def reached(self) -> None:
        """Wait for an answer.

        Raises:
            ConnectionRefusedError: it is down, and refuses.
        """
        if self._down == "refuses":
            raise ConnectionRefusedError(f"nobody listens: {self._name}")
        if self._down == "hangs":
            await asyncio.sleep(3600)
        await asyncio.sleep(SOMETIMES if self._random.random() < 0.1 else USUALLY)


class Database(Dependency):
    """Users and their tasks."""

    async def user(self, user: int) -> dict[str, object]:
        await self.reached()
        return {"id": user, "name": name_of(user), "plan": "pro"}

    async def tasks(self, user: int) -> list[str]:
        await self.reached()
        return [f"Task {number} of {name_of(user)}" for number in range(1, 4)]

    async def search(self, words: str) -> list[str]:
        await self.reached()
        return [name_of(user) for user in range(1, USERS + 1) if words in name_of(user)]

    async def totals(self) -> dict[str, int]:
        await self.reached()
        return {"users": USERS, "tasks": 3 * USERS}


class UserService(Dependency):
    """Who somebody is."""

    async def person(self, user: int) -> dict[str, object]:
        await self.reached()
        return {"id": user, "name": name_of(user)}


class Avatars(Dependency):
    """What somebody looks like."""

    async def avatar(self, user: int) -> str:
        await self.reached()
        return f"/avatars/{user}.png"


class Recommendations(Dependency):
    """What somebody might want to do next."""

    async def of(self, user: int) -> list[str]:
        await self.reached()
        return [f"Tidy up, {name_of(user)}"]


class Cache:
    """The cache, and the switch of what stands in for its Redis."""

    def __init__(self) -> None:
        tier = self._tier = ChaosTier(MemoryTier())
        self.cache = ResilientCache(tier=lambda: tier)

    def fail(self, how: How) -> None:
        """Be down from now on."""
        if how == "refuses":
            self._tier.error = TierError(Trouble.UNREACHABLE, "connection refused")
        else:
            self._tier.freeze()

    async def mend(self) -> None:
        """Be up again."""
        self._tier.error = None
        await self._tier.thaw()


class Dependencies:
    """All of them. `named` has them by the names under which they are monitored.

    Those of one seed take the same times.
    """

    def __init__(self, seed: int = 0) -> None:
        self.database = Database("database", seed)
        self.cache = Cache()
        self.users = UserService("users", seed)
        self.avatars = Avatars("avatars", seed)
        self.recommendations = Recommendations("recommendations", seed)
        self.named: dict[str, Dependency | Cache] = {
            "database": self.database,
            "cache": self.cache,
            "users": self.users,
            "avatars": self.avatars,
            "recommendations": self.recommendations,
        }


def name_of(user: int) -> str:
    return f"{NAMES[user % len(NAMES)]} {user}"
