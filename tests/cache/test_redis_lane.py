"""The lane against a model: every connection is lent to one command, and only clean ones again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.cache.port import PoolSnapshot, TierError, Trouble
from holdfast.cache.redis.commands import NO_LIST, Command
from holdfast.cache.redis.lane import Lane

LIMIT = 3


class FakeLink:
    """A connection whose replies the test gives."""

    where = "here"

    def __init__(self) -> None:
        self.era: object = None
        self.clean = True
        self.closed = False
        self.asked: asyncio.Future[list[Any]] | None = None
        self.served = 0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        assert not self.closed
        assert self.asked is None, "lent to two commands at once"
        self.asked = asyncio.get_running_loop().create_future()
        self.served += 1
        try:
            return await self.asked
        finally:
            self.asked = None

    async def is_clean(self) -> bool:
        return self.clean

    def abort(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class LaneMachine(RuleBasedStateMachine):
    """Each rule runs the loop until nothing moves any more."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.links: list[FakeLink] = []
        self.refusing = False
        self.lane: Lane = self.loop.run_until_complete(self.make())
        # The model: who waits in which order, who holds a connection, which ones lie idle.
        self.waiting: list[asyncio.Task[Any]] = []
        self.busy: dict[asyncio.Task[Any], FakeLink] = {}
        self.idle: list[FakeLink] = []
        self.old: set[FakeLink] = set()
        self.dropped = 0

    async def make(self) -> Lane:
        async def dial() -> Any:
            await asyncio.sleep(0)
            if self.refusing:
                raise TierError(Trouble.UNREACHABLE, "refused")
            self.links.append(FakeLink())
            return self.links[-1]

        return Lane(dial, LIMIT)

    def settle(self) -> None:
        for _ in range(12):
            self.loop.run_until_complete(asyncio.sleep(0))

    def serve_the_next(self) -> None:
        """Let the model give free places to those who wait, as the lane should have done."""
        while self.waiting and len(self.busy) < LIMIT:
            task = self.waiting.pop(0)
            while self.idle and not self.idle[-1].clean:
                self.dropped += 1
                assert self.idle.pop().closed
            if self.idle:
                link = self.idle.pop()
            elif self.refusing:
                assert isinstance(task.exception(), TierError)
                continue
            else:
                taken = {*self.busy.values(), *self.idle}
                (link,) = [one for one in self.links if not one.closed and one not in taken][:1]
            assert link.asked is not None
            self.busy[task] = link

    @rule()
    def command(self) -> None:
        one = Command(b"", "", NO_LIST)
        self.waiting.append(self.loop.create_task(self.lane.run([one])))
        self.settle()
        self.serve_the_next()

    def end(self, task: asyncio.Task[Any], link: FakeLink, *, well: bool) -> None:
        del self.busy[task]
        if well and link not in self.old:
            self.idle.append(link)
        elif not well:
            self.dropped += 1
        self.settle()
        assert task.done()
        self.serve_the_next()

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), reply=st.sampled_from([b"ok", None, 1]))
    def answer(self, data: st.DataObject, reply: object) -> None:
        task = data.draw(st.sampled_from(list(self.busy)))
        link = self.busy[task]
        assert link.asked is not None
        link.asked.set_result([reply])
        self.end(task, link, well=True)
        assert task.result() == [reply]

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), how=st.sampled_from(["lost", "cancelled", "senseless"]))
    def break_one(self, data: st.DataObject, how: str) -> None:
        task = data.draw(st.sampled_from(list(self.busy)))
        link = self.busy[task]
        assert link.asked is not None
        if how == "cancelled":
            task.cancel()
        elif how == "lost":
            link.asked.set_exception(TierError(Trouble.UNREACHABLE, "lost"))
        else:
            link.asked.set_result([["a list", "where none belongs"]])
        self.end(task, link, well=False)
        assert task.cancelled() == (how == "cancelled")
        assert task.cancelled() or isinstance(task.exception(), TierError)
        assert link.closed

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(task)
        task.cancel()
        self.settle()
        assert task.cancelled()

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def the_server_closes_one(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.idle)).clean = False

    @rule()
    def renew(self) -> None:
        self.lane.renew()
        assert all(link.closed for link in self.idle)
        self.idle = []
        self.old |= set(self.busy.values())

    @rule(refusing=st.booleans())
    def the_server_is_there_or_not(self, refusing: bool) -> None:
        self.refusing = refusing

    @invariant()
    def the_counts_are_right(self) -> None:
        assert self.lane.snapshot() == PoolSnapshot(
            open=len(self.busy) + len(self.idle),
            in_use=len(self.busy),
            limit=LIMIT,
            opened_total=len(self.links),
            dropped_total=self.dropped,
        )
        kept = {*self.busy.values(), *self.idle}
        assert {link for link in self.links if not link.closed} == kept

    def teardown(self) -> None:
        for task in [*self.waiting, *self.busy]:
            task.cancel()
        self.settle()
        self.loop.close()


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_connection_being_opened_when_the_lane_is_renewed_is_kept() -> None:
    async def main() -> None:
        link = FakeLink()
        knock = asyncio.Event()

        async def dial() -> Any:
            await knock.wait()
            return link

        lane = Lane(dial, 1)
        task = asyncio.ensure_future(lane.run([Command(b"", "", NO_LIST)]))
        await asyncio.sleep(0)
        lane.renew()
        knock.set()
        await asyncio.sleep(0.001)
        assert link.asked is not None
        link.asked.set_result([b"ok"])
        assert await task == [b"ok"]
        assert (lane.snapshot().open, link.closed) == (1, False)

    asyncio.run(main())


@pytest.mark.parametrize("when", ["waiting", "dialling"])
def test_a_cancelled_dialler_leaves_its_place(when: str) -> None:
    async def main() -> None:
        entered = 0

        async def dial() -> Any:
            nonlocal entered
            entered += 1
            if entered == 1:
                await asyncio.Event().wait()
            return FakeLink()

        lane = Lane(dial, 1)
        one = Command(b"", "", NO_LIST)
        first = asyncio.ensure_future(lane.run([one]))
        second = asyncio.ensure_future(lane.run([one]))
        await asyncio.sleep(0.001)
        (second if when == "waiting" else first).cancel()
        await asyncio.sleep(0.001)
        assert lane.snapshot().in_use == (0 if when == "waiting" else 1)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert lane.snapshot().open == 0

    asyncio.run(main())
