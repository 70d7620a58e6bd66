"""What every shared tier must do, whatever it is made of: the contract behind `SharedTier`.

    class TestMyTier(SharedTierContract):
        def open_tier(self) -> SharedTier:
            return MyTier(...)

The suite shares its store with whoever else uses it: each test has keys of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, NamedTuple
from uuid import uuid4

from holdfast.cache.entry import ABSENT, COUNTER, TOMBSTONE, VALUE
from holdfast.cache.port import APPLIED, Found, Put, SharedTier, TierError, Trouble, version_of

EDGES: Final = (
    *(1, 2, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1),
    *(2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1),
)
"""Versions at which a number too small for them goes wrong."""

SHORT: Final = 0.05
"""Seconds of a life that a test waits to see the end of."""

_MOST: Final = 2**53
_RUNS = count()


def make_blob(version: int, payload: bytes = b"", kind: int = VALUE) -> bytes:
    """A blob as far as a tier can tell: byte 3 its kind, the version behind that."""
    return b"hf\x01" + bytes([kind]) + version.to_bytes(8, "big") + b"[header]" + payload


def make_put(
    key: str, version: int, payload: bytes = b"", ttl: float | None = None, note: bytes = b""
) -> Put:
    """A write of an ordinary value."""
    return Put(key, make_blob(version, payload), ttl, note)


@contextmanager
def refused(trouble: Trouble = Trouble.REFUSED) -> Generator[None]:
    """Inside, a `TierError` of this trouble has to be raised."""
    try:
        yield
    except TierError as error:
        if error.trouble is not trouble:
            raise AssertionError(f"{error.trouble} instead of {trouble}") from error
    else:
        raise AssertionError(f"no TierError: {trouble}")


class SharedTierContract:
    """Subclass this and say how to open a tier."""

    __test__ = False  # this class itself is no test

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__test__" not in cls.__dict__:
            cls.__test__ = True

    def open_tier(self) -> SharedTier:
        """Another client of one and the same store."""
        raise AssertionError("a subclass says which tier is tested")

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end; for virtual time, do it on a clock's loop."""
        asyncio.run(test)

    def use(self, test: Callable[[SharedTier, str], Coroutine[Any, Any, None]]) -> None:
        """Run a test with a tier that is open, and a beginning for its keys."""

        async def with_tier() -> None:
            tier = self.open_tier()
            try:
                await test(tier, f"contract:{uuid4().hex[:8]}:{next(_RUNS)}:")
            finally:
                await tier.aclose()

        self.run(with_tier())

    # -- reading and writing -----------------------------------------------------------------------

    def test_nothing_is_found_where_nothing_was_written(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert plain(await tier.read([at + "a", at + "b"], [at + "f"])) == (
                [None, None],
                [None],
            )
            assert plain(await tier.read([], [])) == ([], [])
            assert list(await tier.write([])) == []

        self.use(test)

    def test_blobs_come_back_as_they_were_in_the_order_asked(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            payloads = [b"", b"\r\n$-1\r\n", bytes(range(256)), b"x" * 2**20]
            puts = [make_put(f"{at}{n}", 7 + n, part) for n, part in enumerate(payloads)]
            assert await tier.write(puts) == [APPLIED] * 4
            keys = [put.key for put in reversed(puts)]
            found = await tier.read([*keys, at + "no", keys[0]], [])
            wanted = [put.blob for put in reversed(puts)]
            assert list(found.blobs) == [*wanted, None, wanted[0]]

        self.use(test)

    def test_keys_may_be_any_text(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            names = ["a b", "a\nb\r\n", "{", "}{", "{}", "{tag}a", "ключ ☃", "'\"\\", "k" * 5000]
            puts = [make_put(at + name, n + 1) for n, name in enumerate(names)]
            assert await tier.write(puts) == [APPLIED] * len(puts)
            found = await tier.read([put.key for put in puts], [])
            assert list(found.blobs) == [put.blob for put in puts]

        self.use(test)

    def test_only_a_higher_version_replaces_what_is_there(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            for there in EDGES:
                for other in EDGES:
                    key = f"{at}{there}-{other}"
                    first, second = make_put(key, there, b"1"), make_put(key, other, b"2")
                    assert await tier.write([first, second]) == (
                        [APPLIED, APPLIED if other > there else there]
                    ), (there, other)

        self.use(test)

    def test_the_version_there_already_is_refused_and_named(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert await tier.write([make_put(at, 2**60 + 3, b"first")]) == [APPLIED]
            for _ in range(2):
                assert await tier.write([make_put(at, 2**60 + 3, b"again")]) == [2**60 + 3]
            (blob,) = (await tier.read([at], [])).blobs
            assert blob == make_blob(2**60 + 3, b"first")

        self.use(test)

    def test_what_is_too_short_for_a_version_is_replaced(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert await tier.write([Put(at, b"hf\x01\x00\xff\xff", None)]) == [APPLIED]
            assert await tier.write([make_put(at, 1)]) == [APPLIED]

        self.use(test)

    def test_a_large_batch_is_answered_put_by_put(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            keys = [f"{at}{n}" for n in range(700)]
            old = [make_put(key, 10 + n) for n, key in enumerate(keys) if n % 3 == 0]
            assert set(await tier.write(old)) == {APPLIED}
            new = [make_put(key, 9, b"new") for key in keys]
            wanted = [10 + n if n % 3 == 0 else APPLIED for n in range(700)]
            assert await tier.write(new) == wanted
            blobs = (await tier.read(keys, [])).blobs
            assert [version_of(blob or b"") for blob in blobs] == (
                [10 + n if n % 3 == 0 else 9 for n in range(700)]
            )

        self.use(test)

    def test_of_many_writers_the_highest_version_wins(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            versions = random.Random(1).sample(range(2**60, 2**60 + 999), 40)
            writes = (tier.write([make_put(at, version)]) for version in versions)
            answers = await asyncio.gather(*writes)
            for version, (answer,) in zip(versions, answers, strict=True):
                assert answer == APPLIED or answer > version
            (blob,) = (await tier.read([at], [])).blobs
            assert version_of(blob or b"") == max(versions)

        self.use(test)

    def test_a_blob_is_forgotten_after_its_time_to_live(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            keys = [at + "short", at + "long", at + "forever", at + "refused", at + "tiny"]
            short, long, forever, unchanged, tiny = keys
            await tier.write(
                [
                    make_put(short, 1, ttl=SHORT),
                    make_put(long, 1, ttl=3600),
                    make_put(forever, 1, ttl=SHORT),
                    make_put(forever, 2),
                    make_put(unchanged, 2, ttl=SHORT),
                    make_put(unchanged, 1),
                    make_put(tiny, 1, ttl=1e-6),
                ]
            )
            assert (await tier.read([long], [])).blobs[0] is not None
            await asyncio.sleep(2 * SHORT)
            held = [blob is not None for blob in (await tier.read(keys, [])).blobs]
            assert held == [False, True, True, False, False]
            assert await tier.write([make_put(short, 1)]) == [APPLIED]

        self.use(test)

    # -- floors ------------------------------------------------------------------------------------

    def test_a_floor_only_rises(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            highest = 0
            for version in (5, 3, 5, *random.Random(2).sample(EDGES, len(EDGES))):
                highest = max(highest, version)
                assert await tier.raise_floor(at + "f", version) == highest
                found = await tier.read([at + "none"], [at + "f", at + "g"])
                assert plain(found) == ([None], [highest, None])

        self.use(test)

    def test_blobs_and_floors_are_read_together(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            await tier.raise_floor(at + "f", 2**64 - 1)
            await tier.raise_floor(at + "g", 0)
            await tier.write([make_put(at + "a", 1), make_put(at + "b", 2)])
            found = await tier.read([at + "b", at + "a"], [at + "g", at + "no", at + "f"])
            assert plain(found) == ([make_blob(2), make_blob(1)], [0, None, 2**64 - 1])

        self.use(test)

    # -- counters ----------------------------------------------------------------------------------

    def test_a_counter_counts_behind_its_header(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            first, later = make_blob(8, kind=COUNTER), make_blob(9, kind=COUNTER)
            assert await tier.add(at, 5, first, None, 0) == 5
            assert await tier.add(at, -12, later, None, 7) == -7
            assert await tier.add(at, 0, later, None, 0) == -7
            assert list((await tier.read([at], [])).blobs) == [first + b"-7"]

        self.use(test)

    def test_additions_at_once_all_count(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            blank = make_blob(1, kind=COUNTER)
            sums = await asyncio.gather(*(tier.add(at, 1, blank, None, 0) for _ in range(40)))
            assert sorted(sums) == list(range(1, 41))

        self.use(test)

    def test_a_dead_counter_and_a_deleted_one_begin_at_nothing(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            new = make_blob(50, kind=COUNTER)
            old = make_blob(2**60, kind=COUNTER)
            assert await tier.add(at + "dead", 5, old, None, 0) == 5
            assert await tier.add(at + "dead", 1, new, None, 2**60 - 1) == 6
            assert await tier.add(at + "dead", 1, new, None, 2**60) == 1
            for kind in (TOMBSTONE, ABSENT):
                key = f"{at}{kind}"
                await tier.write([Put(key, make_blob(9, kind=kind), None)])
                assert await tier.add(key, 3, new, None, 0) == 3
            await tier.write([make_put(at + "value", 9, b"7")])
            assert await tier.add(at + "value", 3, new, None, 9) == 3
            await tier.write([Put(at + "short", b"tiny", None)])
            assert await tier.add(at + "short", 3, new, None, 0) == 3

        self.use(test)

    def test_a_value_is_no_counter(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            await tier.write([make_put(at, 9, b"12")])
            with refused():
                await tier.add(at, 1, make_blob(10, kind=COUNTER), None, 8)
            odd = make_blob(9, b"1x", kind=COUNTER)
            await tier.write([Put(at + "odd", odd, None)])
            with refused():
                await tier.add(at + "odd", 1, make_blob(10, kind=COUNTER), None, 0)
            assert list((await tier.read([at, at + "odd"], [])).blobs) == [make_blob(9, b"12"), odd]

        self.use(test)

    def test_a_counter_stays_exact_up_to_its_limits(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            blank = make_blob(1, kind=COUNTER)
            for sign in (1, -1):
                key = f"{at}{sign}"
                for amount in (_MOST + 1, 2**64):
                    with refused():
                        await tier.add(key, sign * amount, blank, None, 0)
                assert await tier.add(key, sign * (_MOST - 1), blank, None, 0) == sign * (_MOST - 1)
                for amount in (2, _MOST, _MOST + 1, 2**64):
                    with refused():
                        await tier.add(key, sign * amount, blank, None, 0)
                assert await tier.add(key, sign, blank, None, 0) == sign * _MOST
                with refused():
                    await tier.add(key, sign, blank, None, 0)
                assert await tier.add(key, -sign, blank, None, 0) == sign * (_MOST - 1)

        self.use(test)

    def test_a_counter_keeps_the_time_to_live_it_began_with(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            blank = make_blob(1, kind=COUNTER)
            await tier.add(at + "short", 1, blank, SHORT, 0)
            await tier.add(at + "short", 1, blank, 3600, 0)
            await tier.add(at + "long", 1, blank, None, 0)
            await tier.add(at + "long", 1, blank, SHORT, 0)
            await asyncio.sleep(2 * SHORT)
            assert await tier.add(at + "short", 1, blank, None, 0) == 1
            assert await tier.add(at + "long", 1, blank, None, 0) == 3

        self.use(test)

    # -- leases ------------------------------------------------------------------------------------

    def test_a_lease_has_one_holder(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert await tier.lease(at, "one", 60)
            assert not await tier.lease(at, "two", 60)
            # Whose answer was lost asks again.
            assert await tier.lease(at, "one", 60)
            await tier.release(at, "two")
            assert not await tier.lease(at, "two", 60)
            await tier.release(at, "one")
            assert await tier.lease(at, "two", 60)
            await tier.release(at + "never", "one")

        self.use(test)

    def test_of_many_who_want_a_lease_one_gets_it(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            takers = await asyncio.gather(*(tier.lease(at, f"t{n}", 60) for n in range(20)))
            assert sum(takers) == 1

        self.use(test)

    def test_a_lease_ends_by_itself(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert await tier.lease(at, "one", SHORT)
            await asyncio.sleep(2 * SHORT)
            assert await tier.lease(at, "two", 60)
            await tier.release(at, "one")
            assert not await tier.lease(at, "one", 60)

        self.use(test)

    # -- notes -------------------------------------------------------------------------------------

    def test_a_note_is_published_if_its_blob_is_stored(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            channel = at + "channel"
            async with tier.subscription(channel) as notes, tier.subscription(at) as others:
                puts = [
                    make_put(at + "a", 5, note=b"a5"),
                    make_put(at + "a", 5, note=b"not stored"),
                    make_put(at + "a", 6),
                    make_put(at + "a", 7, note=b"\x00\r\na7"),
                ]
                await tier.write(puts, channel)
                await tier.raise_floor(at + "f", 3, channel, b"f3")
                await tier.raise_floor(at + "f", 3, channel, b"not raised")
                await tier.raise_floor(at + "f", 4, channel)
                await tier.write([make_put(at + "b", 1, note=b"elsewhere")], at)
                await tier.write([make_put(at + "b", 2, note=b"last")], channel)
                # The notes of one key keep their order; those of several may overtake each other.
                found = await heard(notes, 4)
                assert sorted(found) == [b"\x00\r\na7", b"a5", b"f3", b"last"]
                assert found.index(b"a5") < found.index(b"\x00\r\na7")
                assert await heard(others, 1) == [b"elsewhere"]

        self.use(test)

    def test_everybody_who_listens_hears_a_note_but_nobody_later(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            async with tier.subscription(at) as one, tier.subscription(at) as two:
                await tier.write([make_put(at, 1, note=b"1")], at)
                assert await heard(one, 1) == await heard(two, 1) == [b"1"]
            await tier.write([make_put(at, 2, note=b"2")], at)
            await asyncio.sleep(SHORT)  # it may still be on its way from server to server
            async with tier.subscription(at) as late:
                await tier.write([make_put(at, 3, note=b"3")], at)
                assert await heard(late, 1) == [b"3"]

        self.use(test)

    def test_another_client_of_the_store_sees_and_hears_the_same(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            other = self.open_tier()
            try:
                async with other.subscription(at) as notes:
                    await tier.write([make_put(at + "k", 3, note=b"hello")], at)
                    assert await heard(notes, 1) == [b"hello"]
                assert list((await other.read([at + "k"], [])).blobs) == [make_blob(3)]
                assert await other.write([make_put(at + "k", 2)]) == [3]
            finally:
                await other.aclose()

        self.use(test)

    # -- the clock and the servers -----------------------------------------------------------------

    def test_the_shared_clock_runs(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            before = await tier.time()
            await asyncio.sleep(SHORT)
            passed = await tier.time() - before
            assert SHORT * 0.9 <= passed < SHORT + 10

        self.use(test)

    def test_the_servers_are_well(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert tier.address
            nodes = await tier.nodes()
            assert "primary" in {node.role for node in nodes}
            for node in nodes:
                assert node.address
                assert (node.ok, node.reason) == (True, None)
                assert node.latency is not None
                assert 0 <= node.latency < 10

        self.use(test)

    def test_connections_are_bounded_and_given_back(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            assert tier.max_connections >= 1
            await tier.write([make_put(f"{at}{n}", n + 1) for n in range(40)])
            reads = [tier.read([f"{at}{n}"], []) for n in range(40)]
            for n, found in enumerate(await asyncio.gather(*reads)):
                assert list(found.blobs) == [make_blob(n + 1)]
            pool = tier.pool()
            assert pool.in_use == 0
            assert pool.open <= pool.limit

        self.use(test)

    def test_a_closed_tier_opens_again_when_it_is_used(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            await tier.write([make_put(at, 1)])
            await tier.aclose()
            assert tier.pool().open == 0
            await tier.aclose()
            assert list((await tier.read([at], [])).blobs) == [make_blob(1)]

        self.use(test)

    # -- cancellation ------------------------------------------------------------------------------

    def test_a_cancelled_command_harms_no_other(self) -> None:
        """Each key holds its own name, so a reply that went astray is seen."""

        async def test(tier: SharedTier, at: str) -> None:
            chance = random.Random(3)
            keys = [f"{at}{n}" for n in range(30)]
            await tier.write([make_put(key, 1, key.encode()) for key in keys])
            for _ in range(150):
                wanted = chance.sample(keys, 4)
                tasks = [asyncio.ensure_future(tier.read([key], [])) for key in wanted]
                victim = chance.choice(tasks)
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                victim.cancel()
                for key, task in zip(wanted, tasks, strict=True):
                    try:
                        found = await task
                    except asyncio.CancelledError:
                        assert task is victim
                    else:
                        assert list(found.blobs) == [make_blob(1, key.encode())]
            assert tier.pool().in_use == 0

        self.use(test)

    # -- everything against a model ----------------------------------------------------------------

    def test_agrees_with_a_model(self) -> None:
        async def test(tier: SharedTier, at: str) -> None:
            chance, model = random.Random(4), _Model()
            for _ in range(250):
                await _step(tier, model, at, chance)

        self.use(test)


def plain(found: Found) -> tuple[list[bytes | None], list[int | None]]:
    """An answer as two lists."""
    return list(found.blobs), list(found.floors)


async def heard(notes: AsyncIterator[bytes], most: int) -> list[bytes]:
    """The next notes."""
    async with asyncio.timeout(10):
        return [await anext(notes) for _ in range(most)]


class _Model:
    """The port as its documentation tells it; nothing expires."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.floors: dict[str, int] = {}
        self.leases: dict[str, str] = {}

    def write(self, puts: Sequence[Put]) -> list[int]:
        answers: list[int] = []
        for put in puts:
            there = self.blobs.get(put.key)
            if there is None or version_of(there) < version_of(put.blob):
                self.blobs[put.key] = put.blob
                answers.append(APPLIED)
            else:
                answers.append(version_of(there))
        return answers

    def add(self, key: str, amount: int, blob: bytes, dead_below: int) -> int | None:
        there = self.blobs.get(key)
        value, header = 0, blob
        if there is not None and version_of(there) > dead_below and there[3] & 3 not in (1, 2):
            if there[3] & 3 != COUNTER:
                return None
            value, header = int(there[len(blob) :]), there[: len(blob)]
        if abs(value + amount) > _MOST:
            return None
        self.blobs[key] = header + b"%d" % (value + amount)
        return value + amount


class _Choice(NamedTuple):
    name: str
    weight: int


_CHOICES: Final = (_Choice("write", 4), _Choice("add", 4), _Choice("floor", 2), _Choice("lease", 2))


async def _step(tier: SharedTier, model: _Model, at: str, chance: random.Random) -> None:
    """One move of tier and model, and a look whether they agree."""

    def version() -> int:
        return chance.choice((chance.choice(EDGES), chance.randrange(1, 6)))

    key, floor = f"{at}k{chance.randrange(4)}", f"{at}f{chance.randrange(2)}"
    (move,) = chance.choices(_CHOICES, [choice.weight for choice in _CHOICES])
    match move.name:
        case "write":
            puts = [
                Put(f"{at}k{chance.randrange(4)}", make_blob(version(), b"5", kind), None)
                for kind in chance.choices((VALUE, ABSENT, TOMBSTONE, COUNTER), k=3)
            ]
            assert await tier.write(puts) == model.write(puts), puts
        case "add":
            amount = chance.choice((1, -3, _MOST, -_MOST, _MOST - 1))
            blob, dead = make_blob(version(), kind=COUNTER), chance.choice((0, version()))
            wanted = model.add(key, amount, blob, dead)
            if wanted is None:
                with refused():
                    await tier.add(key, amount, blob, None, dead)
            else:
                assert await tier.add(key, amount, blob, None, dead) == wanted
        case "floor":
            raised = version()
            model.floors[floor] = max(model.floors.get(floor, 0), raised)
            assert await tier.raise_floor(floor, raised) == model.floors[floor]
        case _:
            token = chance.choice("ab")
            if chance.random() < 0.5:
                holder = model.leases.setdefault(key, token)
                assert await tier.lease(key + "lease", token, 60) is (holder == token)
            else:
                if model.leases.get(key) == token:
                    del model.leases[key]
                await tier.release(key + "lease", token)
    keys, floors = [f"{at}k{n}" for n in range(4)], [f"{at}f{n}" for n in range(2)]
    found = await tier.read(keys, floors)
    assert list(found.blobs) == [model.blobs.get(key) for key in keys]
    assert list(found.floors) == [model.floors.get(floor) for floor in floors]
