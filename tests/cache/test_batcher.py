"""Many small questions, few commands; and nobody waits for ever, whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from holdfast._core.hub import EventHub
from holdfast.cache.batcher import GRACE, STALLED, Batcher
from holdfast.cache.lifeline import FAILED, Side
from holdfast.cache.port import TierError, Trouble
from holdfast.testing import VirtualClock

DEADLINE = 0.25


class Rig:
    """A batcher whose commands take `seconds` and answer with ten times the question."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.sent: list[list[int]] = []
        self.seconds = 0.0
        self.error: Exception | None = None
        self.under_way = 0
        self.most = 0
        self.side = Side("side", 1.0, self.clock, EventHub())

    def make(self, *, lanes: int = 2, most: int = 5, **options: Any) -> Batcher[int, int]:
        options = {"deadline": DEADLINE} | options
        return Batcher(self.run, self.side, lanes=lanes, most=most, **options)

    async def run(self, questions: list[int]) -> Sequence[int]:
        self.sent.append(list(questions))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        return [10 * question for question in questions]


def play(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    rig = Rig()

    async def main() -> None:
        await test(rig)
        await asyncio.sleep(5)
        assert rig.under_way == 0
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    rig.clock.run(main())


class TestGathering:
    def test_what_is_asked_in_one_turn_is_one_command(self) -> None:
        async def test(rig: Rig) -> None:
            batcher = rig.make()
            answers = await asyncio.gather(*(batcher.ask(number) for number in range(4)))
            assert answers == [0, 10, 20, 30]
            assert rig.sent == [[0, 1, 2, 3]]
            assert batcher.commands == 1

        play(test)

    def test_a_lone_question_waits_for_nothing(self) -> None:
        async def test(rig: Rig) -> None:
            assert await rig.make().ask(7) == 70
            assert rig.clock.now() == 0.0

        play(test)

    def test_a_command_has_so_many_questions_at_most(self) -> None:
        async def test(rig: Rig) -> None:
            batcher = rig.make(most=3, lanes=9)
            asked = [batcher.ask(number) for number in range(7)]
            assert await asyncio.gather(*asked) == [10 * number for number in range(7)]
            assert rig.sent == [[0, 1, 2], [3, 4, 5], [6]]

        play(test)

    def test_a_list_is_not_torn_apart(self) -> None:
        async def test(rig: Rig) -> None:
            batcher = rig.make(most=4)
            first, second, third = batcher.ask(1), batcher.ask_all([2, 3]), batcher.ask_all([4, 5])
            assert [await first, await second, await third] == [10, [20, 30], [40, 50]]
            assert rig.sent == [[1, 2, 3], [4, 5]]

        play(test)

    def test_at_most_so_many_commands_as_there_are_lanes(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 0.01
            batcher = rig.make(lanes=2, most=5)
            answers = await asyncio.gather(*(batcher.ask(number) for number in range(50)))
            assert answers == [10 * number for number in range(50)]
            assert rig.most == 2
            assert batcher.commands == 10

        play(test)

    def test_what_is_asked_while_all_lanes_are_busy_gathers(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 0.02
            batcher = rig.make(lanes=1)
            asked = [batcher.ask(0)]
            for number in range(1, 4):
                await asyncio.sleep(0.005)
                asked.append(batcher.ask(number))
            assert await asyncio.gather(*asked) == [0, 10, 20, 30]
            assert rig.sent == [[0], [1, 2, 3]]

        play(test)

    def test_who_comes_late_does_not_join_a_batch_that_has_waited_long(self) -> None:
        """It would have nothing left of its own time."""

        async def test(rig: Rig) -> None:
            rig.seconds = 0.08
            batcher = rig.make(lanes=1)
            first = batcher.ask(0)
            await asyncio.sleep(0)
            second = batcher.ask(1)
            await asyncio.sleep(DEADLINE / 5)
            third = batcher.ask(2)
            assert [await first, await second, await third] == [0, 10, 20]
            assert rig.sent == [[0], [1], [2]]

        play(test)


class TestDeadline:
    def test_everybody_is_answered_when_time_is_up(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 99.0
            answers = await asyncio.gather(*(rig.make().ask(number) for number in range(3)))
            assert rig.clock.now() == pytest.approx(DEADLINE)
            assert [answer.trouble for answer in answers] == [Trouble.TIMEOUT] * 3
            assert str(answers[0]) == "no answer within 0.25 s"
            assert rig.side.trouble is Trouble.TIMEOUT

        play(test)

    def test_time_runs_from_the_question_not_from_the_command(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 0.24
            batcher = rig.make(lanes=1)
            first = batcher.ask(0)
            await asyncio.sleep(0)
            queued = batcher.ask_all([1, 2])
            assert await first == 0
            rig.seconds = 99.0
            answers = await queued
            assert rig.clock.now() == pytest.approx(DEADLINE)
            assert [answer.trouble for answer in answers] == [Trouble.TIMEOUT] * 2

        play(test)

    def test_no_lane_until_the_deadline(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 99.0
            batcher = rig.make(lanes=1)
            first = batcher.ask(0)
            await asyncio.sleep(0.2)
            behind = batcher.ask(1)
            assert (await first).trouble is Trouble.TIMEOUT
            assert (await behind).trouble is Trouble.TIMEOUT
            assert rig.sent == [[0], [1]]
            assert rig.clock.now() == pytest.approx(0.2 + DEADLINE)

        play(test)

    def test_a_batch_that_never_gets_a_lane_is_trouble_of_our_own(self) -> None:
        async def test(rig: Rig) -> None:
            async def stubborn(questions: list[int]) -> Sequence[int]:
                try:
                    await asyncio.sleep(99)
                except asyncio.CancelledError:
                    await asyncio.sleep(1)
                return questions

            batcher = Batcher(stubborn, rig.side, lanes=1, most=5, deadline=DEADLINE)
            first = batcher.ask(0)
            await asyncio.sleep(0.1)
            behind = batcher.ask(1)
            assert (await first).trouble is Trouble.TIMEOUT
            answer = await behind
            assert answer.trouble is Trouble.POOL
            assert str(answer) == "no free connection within 0.25 s"
            await asyncio.sleep(2)
            later = batcher.ask(2)
            assert (await later).trouble is Trouble.TIMEOUT, "the lane is free again"

        play(test)

    def test_a_stalled_loop_looks_once_more_before_it_gives_up(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 0.2
            batcher = rig.make()
            asked = batcher.ask(1)
            asyncio.get_running_loop().call_later(0.1, rig.clock.advance, DEADLINE + STALLED)
            assert await asked == 10
            assert rig.side.trouble is None

        play(test)

    def test_but_only_once(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 99.0
            asked = rig.make().ask(1)
            asyncio.get_running_loop().call_later(0.1, rig.clock.advance, 1.0)
            assert (await asked).trouble is Trouble.TIMEOUT
            assert rig.clock.now() == pytest.approx(1.1 + GRACE)

        play(test)

    def test_an_answer_after_the_deadline_says_nothing(self) -> None:
        async def test(rig: Rig) -> None:
            async def late(questions: list[int]) -> Sequence[int]:
                try:
                    await asyncio.sleep(99)
                except asyncio.CancelledError:
                    return questions
                return questions

            batcher = Batcher(late, rig.side, lanes=1, most=5, deadline=DEADLINE)
            assert (await batcher.ask(1)).trouble is Trouble.TIMEOUT
            await asyncio.sleep(0)
            assert rig.side.trouble is Trouble.TIMEOUT

        play(test)


class TestErrors:
    def test_all_questions_of_a_command_share_its_error(self) -> None:
        async def test(rig: Rig) -> None:
            rig.error = TierError(Trouble.BUSY, "LOADING")
            batcher = rig.make()
            one, all_ = batcher.ask(1), batcher.ask_all([2, 3])
            assert (await one, await all_) == (rig.error, [rig.error, rig.error])
            assert rig.side.reason == "LOADING"

        play(test)

    def test_something_unforeseen_is_logged_and_answered(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def test(rig: Rig) -> None:
            rig.error = ZeroDivisionError("secret")
            answer = await rig.make().ask(1)
            assert (answer.trouble, str(answer)) == (
                Trouble.UNREACHABLE,
                "defect: ZeroDivisionError",
            )

        with caplog.at_level(logging.ERROR, "holdfast"):
            play(test)
        assert [record.message for record in caplog.records] == [
            "a command of the cache failed in an unforeseen way"
        ]

    def test_the_breaker_opens_after_four(self) -> None:
        async def test(rig: Rig) -> None:
            rig.error = TierError(Trouble.UNREACHABLE, "gone")
            batcher = rig.make()
            for _ in range(FAILED):
                assert rig.side.flows
                await batcher.ask(1)
            assert not rig.side.flows
            assert rig.side.times.count == FAILED

        play(test)

    def test_what_callers_get_can_be_made_of_answers_and_errors(self) -> None:
        async def test(rig: Rig) -> None:
            seen: list[Any] = []

            def ended(questions: list[int], answers: Any) -> list[str]:
                seen.append(answers)
                return [f"told {question}" for question in questions]

            batcher = rig.make(ended=ended)
            assert await batcher.ask_all([1, 2]) == ["told 1", "told 2"]
            rig.error = TierError(Trouble.BUSY, "LOADING")
            assert await batcher.ask(3) == "told 3"
            assert seen == [[10, 20], rig.error]

        play(test)


class TestCancellation:
    def test_a_caller_takes_only_its_own_question_with_it(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 0.1
            batcher = rig.make()

            async def caller(number: int) -> Any:
                return await batcher.ask(number)

            tasks = [asyncio.ensure_future(caller(number)) for number in range(3)]
            await asyncio.sleep(0.05)
            tasks[1].cancel()
            assert [await tasks[0], await tasks[2]] == [0, 20]
            assert tasks[1].cancelled()
            assert rig.sent == [[0, 1, 2]]
            assert rig.side.trouble is None

        play(test)

    def test_one_that_is_cancelled_before_its_first_step_gives_its_lane_back(self) -> None:
        async def test(rig: Rig) -> None:
            batcher = rig.make(lanes=1)
            batcher.ask(1).cancel()
            # As when an event loop is closing.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(DEADLINE * 2)
            assert await batcher.ask(2) == 20

        play(test)

    def test_a_command_that_is_cut_off_from_outside_answers_its_callers(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 0.1
            batcher = rig.make()
            asked = batcher.ask(1)
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            assert str(await asked) == "the event loop is closing"

        play(test)


class TestClosing:
    def test_whoever_waits_is_told(self) -> None:
        async def test(rig: Rig) -> None:
            rig.seconds = 99.0
            batcher = rig.make(lanes=1)
            sent = batcher.ask(1)
            await asyncio.sleep(0)
            queued = batcher.ask(2)
            await batcher.aclose()
            assert [str(await one) for one in (sent, queued)] == ["the cache was closed"] * 2
            assert rig.under_way == 0
            assert rig.clock.now() == 0.0

        play(test)

    def test_closing_twice_or_unused_is_fine(self) -> None:
        async def test(rig: Rig) -> None:
            batcher = rig.make()
            await batcher.aclose()
            await batcher.aclose()

        play(test)
