"""Two processes and one server, which freezes, and dies, under both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from holdfast.testing import ValkeyServer

from .places import needs_server, running, server

__all__ = ["running", "server"]
pytestmark = needs_server

# Does what it is told on its standard input, a line each, and says how that ended.
PROCESS = """
import asyncio, json, sys
from holdfast.cache import ResilientCache

async def main(url):
    loop = asyncio.get_running_loop()
    async with ResilientCache(url, command_timeout=0.1, probe_interval=0.1) as cache:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            name, *arguments = json.loads(line)
            answer = cache.state if name == "state" else await getattr(cache, name)(*arguments)
            print(json.dumps(answer), flush=True)

asyncio.run(main(sys.argv[1]))
"""


class Process:
    """The cache in another process."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def ask(self, name: str, *arguments: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def wait_for(self, state: str) -> None:
        give_up = time.monotonic() + 10
        while self.ask("state") != state:
            assert time.monotonic() < give_up
            time.sleep(0.01)


@contextmanager
def two(url: str) -> Generator[tuple[Process, Process]]:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in "12"
    ]
    try:
        one, other = (Process(child) for child in children)
        yield one, other
    finally:
        for child in children:
            child.communicate(timeout=10)
    assert [child.returncode for child in children] == [0, 0]


def test_a_freeze_loses_nothing_and_a_crash_brings_nothing_old_back(server: ValkeyServer) -> None:
    with two(server.url) as (one, other):
        assert one.ask("set", "overwritten", 1) == "applied"
        assert one.ask("set", "deleted", 1) == "applied"
        assert other.ask("get_many", ["overwritten", "deleted"]) == {"overwritten": 1, "deleted": 1}

        server.freeze()
        assert one.ask("delete", "deleted") == "queued"
        assert one.ask("set", "overwritten", 2) == "queued"
        assert other.ask("set", "overwritten", 3) == "queued"
        # Each serves what it knows, and its own writes.
        assert one.ask("get_many", ["overwritten", "deleted"]) == {"overwritten": 2}
        assert other.ask("get_many", ["overwritten", "deleted"]) == {"overwritten": 3, "deleted": 1}
        for process in (one, other):
            process.wait_for("down")
        server.thaw()
        for process in (one, other):
            process.wait_for("up")
        time.sleep(0.3)  # both have told what they owe
        for process in (one, other):
            assert process.ask("get_many", ["overwritten", "deleted"]) == {"overwritten": 3}

        server.kill()
        assert one.ask("set", "overwritten", 4) == "queued"
        assert other.ask("get", "overwritten") == 3
        server.restart()
        for process in (one, other):
            process.wait_for("up")
        time.sleep(0.3)
        # What was owed may be older than something that went down with the data.
        for process in (one, other):
            assert process.ask("get_many", ["overwritten", "deleted"]) == {}
        assert one.ask("set", "overwritten", 5) == "applied"
        assert other.ask("get", "overwritten") == 5


def test_they_count_together_and_never_alone(server: ValkeyServer) -> None:
    with two(server.url) as (one, other):
        assert [one.ask("incr", "n"), other.ask("incr", "n"), one.ask("incr", "n")] == [1, 2, 3]
        assert other.ask("clear") == "applied"
        assert one.ask("get", "n") is None
        assert one.ask("incr", "n") == 1
