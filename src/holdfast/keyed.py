"""One pipeline per key: per host, per tenant, per shard, made on first use and retired when idle.

A breaker for "all hosts" opens for the healthy ones too. A breaker per host must be found again on
every call and, since hosts come and go, must not stay for ever. So the pipelines stand in a dict in
order of their last use: the head of that order is who goes next, and each call looks at no more
than a few heads.

What is retired is forgotten, so only what holds nothing goes. A place taken or queued for, a break
that is not over, a probe under way, a mode that an operator set, a thread left behind: each keeps
its pipeline, which then counts as used at the moment it was looked at. A circuit whose break is
over may go: all it still knows is that the next call is a probe.

Looking at a pipeline takes its own locks and may tell listeners, so it happens outside of the
registry's lock. Meanwhile the pipeline stands among the *leaving*, where a call still finds it.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from threading import Event, RLock, get_ident
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from holdfast._core import fork
from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.validate import count, number, refuse, text
from holdfast.errors import RejectedError
from holdfast.policies.base import Policy
from holdfast.policies.bulkhead import Bulkhead
from holdfast.policies.circuit_breaker import CircuitBreaker
from holdfast.policies.kinds import Kind, kind_of
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async
from holdfast.policies.timeout import Timeout

P = ParamSpec("P")
R = TypeVar("R")
PolicyT = TypeVar("PolicyT", bound=Policy)

LOOKS = 4
"""Heads that one call looks at. More than one, so that retiring keeps ahead of creating."""

PAUSE = 1.0
"""Seconds for which a registry that found nobody to retire says no without looking again."""


class KeepsTypes(Protocol):
    """A decorator that returns what it was given, typed as before."""

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...


@dataclass(frozen=True, slots=True)
class KeyedSnapshot:
    """How many pipelines there are, and how many were made, retired and refused so far."""

    name: str
    keys: int
    max_keys: int
    created_total: int
    retired_total: int
    refused_total: int


class Keyed(Generic[PolicyT]):
    """A policy for each key, made by `factory(key)` when it is first asked for.

    Args:
        name: for errors and snapshots.
        factory: makes the policy, usually a `Pipeline`, of one key. Called once per key, outside of
            every lock; what it raises comes out of `get`, and the next `get` tries again.
        max_keys: the most policies kept at a time, at least 1. Default 10,000. Beyond, the one
            that was not used for longest goes early, unless it holds something.
        idle: seconds without use after which a policy is retired, above 0. Default 300. Should be
            longer than a call: one that outlives its retirement ends undisturbed, but what it
            learns is lost to the key.
        clock: for tests and containers.

    Raises:
        ConfigurationError: an option is out of its range, or a key is no printable string of at
            most 200 characters.
        RejectedError: (from `get` and protected calls) `max_keys` is reached and each policy holds
            something: a place, an open circuit, an operator's mode. New keys are refused for a
            second then; known ones go on.

    A policy that holds something is never retired. Retirement happens in passing, a few policies
    per `get`, without a thread. Ask for the policy at each call rather than keep it: a kept one may
    have been replaced. Thread safe; callers of a key that is being made wait for it.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_created",
        "_due",
        "_factory",
        "_full_until",
        "_idle",
        "_leaving",
        "_lock",
        "_making",
        "_max_keys",
        "_name",
        "_refused",
        "_retired",
        "_there",
    )

    def __init__(
        self,
        name: str,
        factory: Callable[[str], PolicyT],
        *,
        max_keys: int = 10_000,
        idle: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        self._name = text("name", name)
        if not callable(factory):
            raise refuse("factory", factory, "a function that takes the key and returns a policy")
        self._factory = factory
        self._max_keys = count("max_keys", max_keys)
        self._idle = number("idle", idle, above=0)
        self._clock = AMBIENT if clock is None else clock
        # Reentrant: a generator that the collector finalises may ask for a policy in its `finally`.
        self._lock = RLock()
        self._there: OrderedDict[str, _Entry[PolicyT]] = OrderedDict()
        self._leaving: dict[str, _Entry[PolicyT]] = {}
        self._making: dict[str, _Making] = {}
        self._due = 0.0  # no policy becomes idle before this time
        self._full_until = -inf
        self._created = 0
        self._retired = 0
        self._refused = 0
        fork.watch(self)

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    def __len__(self) -> int:
        with self._lock:
            return len(self._there) + len(self._leaving)

    def items(self) -> list[tuple[str, PolicyT]]:
        """Every key and its policy, longest unused first; looking is no use."""
        with self._lock:
            entries = [*self._leaving.items(), *self._there.items()]
        return [(key, entry.policy) for key, entry in entries]

    def snapshot(self) -> KeyedSnapshot:
        """The registry at this moment; `items` leads to the snapshots of its policies."""
        with self._lock:
            return KeyedSnapshot(
                name=self._name,
                keys=len(self._there) + len(self._leaving),
                max_keys=self._max_keys,
                created_total=self._created,
                retired_total=self._retired,
                refused_total=self._refused,
            )

    def get(self, key: str) -> PolicyT:
        """The policy of `key`, made now if there is none."""
        if key.__class__ is not str:
            text("key", key)
        now = self._clock.now()
        with self._lock:
            policy = self._find(key, now)
            due = now >= self._due
        if policy is None:
            policy = self._make(text("key", key), now)
        elif due:
            self._retire_idle(now)
        return policy

    def __call__(self, *, key: Callable[..., str]) -> KeepsTypes:
        """Protect each call with the policy of ``key(*args, **kwargs)``.

        For sync and async functions, methods, generator functions and callable objects, as a
        policy does; `key` is a plain function of the same arguments.

        Raises:
            TypeError: `key` is not a plain function, or the decorated object cannot be called.
        """
        if kind_of(key) is not Kind.SYNC:
            raise TypeError(f"key must be a plain function that returns the key, not {key!r}")

        def decorate(fn: Callable[P, R], /) -> Callable[P, R]:
            raw: Any = fn
            if isinstance(fn, (staticmethod, classmethod)):
                return cast("Callable[P, R]", raw.__class__(decorate(raw.__func__)))
            return cast("Callable[P, R]", functools.update_wrapper(self._bind(fn, key), fn))

        return decorate

    def _bind(self, fn: Callable[..., Any], key: Callable[..., str]) -> Callable[..., Any]:
        kind = kind_of(fn)

        def stream(*args: Any, **kwargs: Any) -> Any:
            return self.get(key(*args, **kwargs))(fn)(*args, **kwargs)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.get(key(*args, **kwargs)).call(fn, *args, **kwargs)

        async def acall(*args: Any, **kwargs: Any) -> Any:
            return await self.get(key(*args, **kwargs)).acall(fn, *args, **kwargs)

        if kind is Kind.GENERATOR:
            return guard(stream, lambda begun: Session(None, begun))
        if kind is Kind.ASYNC_GENERATOR:
            return guard_async(stream, lambda begun: AsyncSession(None, begun))
        return acall if kind is Kind.ASYNC else call

    # -- making --------------------------------------------------------------------------------

    def _find(self, key: str, now: float) -> PolicyT | None:
        """The policy if there is one, which is used now; the lock is held."""
        entry = self._there.get(key)
        if entry is not None:
            self._there.move_to_end(key)
        else:
            entry = self._leaving.pop(key, None)
            if entry is None:
                return None
            self._there[key] = entry
        entry.used = now
        return entry.policy

    def _make(self, key: str, now: float) -> PolicyT:
        """Make the policy, unless another thread does; then wait for that."""
        self._retire_idle(now)
        mine = _Making()
        while True:
            with self._lock:
                policy = self._find(key, now)
                if policy is not None:
                    return policy
                other = self._making.get(key)
                if other is None and self._size() < self._max_keys:
                    self._making[key] = mine
                    break
            if other is None:
                self._make_room(now)
            elif other.thread == mine.thread:
                raise RuntimeError(f"the factory of keyed {self._name!r} asked for its own key")
            else:
                other.over.wait()
        try:
            made = _Entry(_checked(self._factory(key)), self._clock.now())
            with self._lock:
                # In one step, or the key would count twice.
                del self._making[key]
                self._there[key] = made
                self._created += 1
            return made.policy
        finally:
            with self._lock:
                if self._making.get(key) is mine:
                    del self._making[key]
            mine.over.set()

    def _size(self) -> int:
        """Policies that exist or will in a moment; the lock is held."""
        return len(self._there) + len(self._leaving) + len(self._making)

    # -- retiring ------------------------------------------------------------------------------

    def _retire_idle(self, now: float) -> None:
        """Retire what is idle, as far as a few looks go."""
        for _ in range(LOOKS):
            if self._retire_head(now, self._idle) is None:
                break
        with self._lock:
            head = next(iter(self._there.values()), None)
            self._due = self._idle + (now if head is None else head.used)

    def _make_room(self, now: float) -> None:
        """Retire the longest unused policy that may go, unless there is room.

        Raises:
            RejectedError: none may go.
        """
        with self._lock:
            if self._size() < self._max_keys:
                return
            looks = 0 if now < self._full_until else len(self._there)
        for _ in range(looks):
            if self._retire_head(now):
                return
        with self._lock:
            self._refused += 1
            if looks:
                self._full_until = now + PAUSE
        reason = f"each of {self._max_keys} policies holds something"
        raise RejectedError("keyed", self._name, reason, PAUSE)

    def _retire_head(self, now: float, idle: float = -inf) -> bool | None:
        """Was the longest unused policy retired? None if there is none, or not idle for so long.

        One that holds something counts as used instead.
        """
        with self._lock:
            head = next(iter(self._there.values()), None)
            if head is None or now - head.used < idle:
                return None
            key, entry = self._there.popitem(last=False)
            self._leaving[key] = entry
        held = any(_holds(part) for part in entry.policy._parts())
        with self._lock:
            if self._leaving.get(key) is not entry:
                return False  # asked for in the meantime
            del self._leaving[key]
            if held:
                self._there[key] = entry
                entry.used = now
            else:
                self._retired += 1
            return not held

    def _after_fork(self) -> None:
        # The threads that were making or retiring something do not exist here.
        self._lock = RLock()
        self._making.clear()

    def __repr__(self) -> str:
        return f"<Keyed {self._name!r}: {len(self)} keys>"


class _Entry(Generic[PolicyT]):
    """A policy and when it was last asked for."""

    __slots__ = ("policy", "used")

    def __init__(self, policy: PolicyT, used: float) -> None:
        self.policy = policy
        self.used = used


class _Making:
    """A thread is making the policy of a key."""

    __slots__ = ("over", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()
        self.over = Event()


def _checked(policy: PolicyT) -> PolicyT:
    if not isinstance(policy, Policy):
        raise TypeError(f"factory must return a policy, not {policy!r}")
    return policy


def _holds(policy: Policy) -> bool:
    """Whether something would be lost with this policy."""
    if isinstance(policy, Bulkhead):
        bulkhead = policy.snapshot()
        return bool(bulkhead.active or bulkhead.queued)
    if isinstance(policy, CircuitBreaker):
        circuit = policy.snapshot()
        return bool(circuit.override or circuit.probes or circuit.retry_in)
    return isinstance(policy, Timeout) and policy.snapshot().abandoned > 0
