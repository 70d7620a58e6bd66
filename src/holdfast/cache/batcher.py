"""Many small questions, few commands: what is asked in one turn of the event loop goes out as one.

A command costs its client some 40 µs, one more key in it under 2 µs. So a question is not sent but
put on a list, and the list is sent in the loop's next turn: a lone question waits for nothing, and
a thousand at once make a handful of commands. At most as many commands as there are *lanes* are
under way; what is asked while all are busy gathers until one is free.

Each command runs in a task that belongs to the batcher. A caller that is cancelled takes only its
own future with it: neither the command nor the connection nor the other callers notice. Each batch
has one deadline, counted from its first question. When that has passed its callers get an answer,
whatever the command does, and its task is cancelled, upon which the tier drops the connection.
All batches have the same time, so they expire in the order in which they began, and one timer for
the first of them is enough.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from holdfast._core.circuit_types import Permit
from holdfast.cache.lifeline import Side
from holdfast.cache.port import TierError, Trouble

Q = TypeVar("Q")
A = TypeVar("A")

_log = logging.getLogger("holdfast")

STALLED: Final = 0.02
"""Seconds that a timer may be late before we take it that this process was busy elsewhere."""
GRACE: Final = 0.04
"""Seconds that a command then gets on top, since its reply may lie in a socket nobody looked at."""


class _Batch(Generic[Q]):
    """The questions of one command, and who waits for which of the answers."""

    __slots__ = (
        "born",
        "done",
        "due",
        "permit",
        "questions",
        "sent",
        "task",
        "waiting",
    )

    def __init__(self, born: float, due: float) -> None:
        self.born = born
        self.due = due
        """When it is to be answered at the latest."""
        self.questions: list[Q] = []
        self.waiting: list[tuple[asyncio.Future[Any], int, int]] = []
        """Future, index of its first question, and how many; 0 stands for one that is alone."""
        self.task: asyncio.Task[None] | None = None
        self.permit: Permit | None = None
        self.sent: float | None = None
        """When its task had its first turn."""
        self.done = False


class Batcher(Generic[Q, A]):
    """Gathers questions of one kind.

    Args:
        run: sends one command for all these questions; an answer for each, or `TierError`.
        side: is told how commands end; None where the questions do that themselves.
        lanes: commands under way at once.
        most: questions in one command.
        deadline: seconds from a question until it has an answer, be it a `TierError`.
        ended: called once per batch with the questions and their answers, or the error that they
            share; what it returns is what the callers get. Default: the answers, or the error for
            each.

    An answer that is an error is a result, not an exception: it costs less, and nobody has to
    retrieve it. Belongs to the event loop in which it was made.
    """

    def __init__(
        self,
        run: Callable[[list[Q]], Awaitable[Sequence[A]]],
        side: Side | None,
        *,
        lanes: int,
        most: int,
        deadline: float,
        ended: Callable[[list[Q], Sequence[A] | TierError], Sequence[Any]] | None = None,
    ) -> None:
        self._run = run
        self._side = side
        self._free = lanes
        self._most = most
        self._deadline = deadline
        self._join = deadline / 10
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Batch[Q]] = deque()
        self._active: set[_Batch[Q]] = set()
        self._gathering: _Batch[Q] | None = None
        """The batch that still takes questions."""
        self._due: dict[_Batch[Q], None] = {}
        """What is not answered yet, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self.commands = 0
        """How many commands were sent."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it belongs to."""
        return self._loop

    def ask(self, question: Q) -> asyncio.Future[Any]:
        """A future of the answer."""
        batch = self._open()
        future: asyncio.Future[Any] = self._loop.create_future()
        batch.waiting.append((future, len(batch.questions), 0))
        batch.questions.append(question)
        return future

    def ask_all(self, questions: Sequence[Q]) -> asyncio.Future[Any]:
        """A future of the list of answers, at most `most` of them; asked in one command."""
        batch = self._open(len(questions))
        future: asyncio.Future[Any] = self._loop.create_future()
        batch.waiting.append((future, len(batch.questions), len(questions)))
        batch.questions.extend(questions)
        return future

    def give_up(self, error: TierError) -> None:
        """Answer everybody who waits with this error, and end their commands."""
        for batch in list(self._due):
            if batch.task is None:
                self._queue.remove(batch)
            self._finish(batch, error)
            self._cut_off(batch)

    async def aclose(self) -> None:
        """End all commands; whoever still waits is told that the cache was closed."""
        error = TierError(Trouble.UNREACHABLE, "the cache was closed")
        tasks = [batch.task for batch in self._active if batch.task is not None]
        for batch in (*self._queue, *self._active):
            self._finish(batch, error)
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _open(self, extra: int = 1) -> _Batch[Q]:
        """The batch that takes the next question."""
        batch = self._gathering
        if (
            batch is not None
            and len(batch.questions) + extra <= self._most
            and (batch.task is not None or self._loop.time() - batch.born < self._join)
        ):
            return batch
        now = self._loop.time()
        self._gathering = batch = _Batch[Q](now, now + self._deadline)
        self._due[batch] = None
        if self._timer is None:
            self._arm(batch)
        if self._free:
            self._start(batch)
        else:
            self._queue.append(batch)
        return batch

    def _start(self, batch: _Batch[Q]) -> None:
        """Give the batch a lane. It takes further questions until its task has its first turn."""
        self._free -= 1
        self._active.add(batch)
        batch.permit = None if self._side is None else self._side.permit
        batch.task = self._loop.create_task(self._carry(batch))

    async def _carry(self, batch: _Batch[Q]) -> None:
        """Send one batch and hand out the answers."""
        if self._gathering is batch:
            self._gathering = None
        self.commands += 1
        batch.sent = self._loop.time()
        try:
            answers = await self._run(batch.questions)
        except TierError as error:
            self._failed(batch, error)
        except asyncio.CancelledError:
            # By `_expire` or `aclose`, which have answered already, or by the end of the loop.
            self._finish(batch, TierError(Trouble.UNREACHABLE, "the event loop is closing"))
            raise
        except Exception as error:
            # A defect, here or in the tier: nobody may wait for ever because of it.
            _log.exception("a command of the cache failed in an unforeseen way")
            self._failed(batch, TierError(Trouble.UNREACHABLE, f"defect: {type(error).__name__}"))
        else:
            if not batch.done:
                if self._side is not None and batch.permit is not None:
                    self._side.times.add(self._loop.time() - batch.sent)
                    self._side.succeeded(batch.permit)
                self._finish(batch, answers)
        finally:
            self._landed(batch)

    def _failed(self, batch: _Batch[Q], error: TierError) -> None:
        if not batch.done:
            if self._side is not None and batch.permit is not None:
                if batch.sent is not None:
                    self._side.times.add(self._loop.time() - batch.sent)
                self._side.failed(batch.permit, error)
            self._finish(batch, error)

    def _landed(self, batch: _Batch[Q]) -> None:
        """The command is over, and its lane is free."""
        self._active.discard(batch)
        self._free += 1
        while self._queue and self._free and not self._loop.is_closed():
            waiting = self._queue.popleft()
            if not waiting.done:
                self._start(waiting)

    def _arm(self, batch: _Batch[Q]) -> None:
        self._timer = self._loop.call_at(batch.due, self._look)

    def _look(self) -> None:
        """The oldest batch may have expired; it mostly was answered long ago."""
        self._timer = None
        now = self._loop.time()
        for batch in list(self._due):
            if batch.due > now:
                self._arm(batch)
                return
            del self._due[batch]
            self._expire(batch)

    def _expire(self, batch: _Batch[Q]) -> None:
        """Time is up for this batch."""
        if batch.done:
            return
        now = self._loop.time()
        if now - batch.due > STALLED:
            # We were not looking. The answer may be here already, unread.
            batch.due = now + GRACE
            self._loop.call_at(batch.due, self._expire, batch)
            return
        if batch.task is None:
            # It never left, which is the doing of the commands before it: they are charged.
            self._queue.remove(batch)
            waited = f"no free connection within {self._deadline:g} s"
            self._finish(batch, TierError(Trouble.POOL, waited))
        else:
            self._cut_off(batch)
            silent = f"no answer within {self._deadline:g} s"
            self._failed(batch, TierError(Trouble.TIMEOUT, silent))

    def _cut_off(self, batch: _Batch[Q]) -> None:
        """Cancel the task of this batch, if it has one."""
        if batch.task is not None:
            batch.task.cancel()
            if batch.sent is None:
                # What is cancelled before its first turn never gets to its `finally`.
                self._landed(batch)

    def _finish(self, batch: _Batch[Q], answers: Sequence[A] | TierError) -> None:
        """Give everybody who still waits the answer."""
        if batch.done:
            return
        batch.done = True
        if self._gathering is batch:
            self._gathering = None
        self._due.pop(batch, None)
        results: Sequence[Any]
        if self._ended is not None:
            results = self._ended(batch.questions, answers)
        elif isinstance(answers, TierError):
            results = [answers] * len(batch.questions)
        else:
            results = answers
        for future, first, count in batch.waiting:
            if not future.done():
                future.set_result(results[first : first + count] if count else results[first])
