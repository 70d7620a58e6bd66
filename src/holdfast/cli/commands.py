"""The commands, as click sees them. A command imports what it needs when it runs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from types import FrameType

import click

from holdfast.cli import EXTRA_OF


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("holdfast"), message="%(prog)s %(version)s")
def holdfast() -> None:
    """Holdfast keeps a service useful while the things it depends on fail."""


@holdfast.command()
@click.option(
    "--floor",
    type=click.Choice(["calls", "cache", "features", "all"]),
    default="all",
    show_default=True,
    help="What fails: a service that is called, a Valkey, anything, or one after the other.",
)
@click.option(
    "--seconds",
    type=click.IntRange(min=10, max=3600),
    default=32,
    show_default=True,
    help="How long the traffic of each floor lasts.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=5, max=30),
    default=15,
    show_default=True,
    help="Requests per second to each of the three task boards; three times as many with a cache.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of what the users ask for.")
@click.option("--headless", is_flag=True, help="No live table: one line per phase.")
@click.option("--json", "as_json", is_flag=True, help="Print the result, and only it, as JSON.")
def demo(floor: str, seconds: int, rate: int, seed: int, headless: bool, as_json: bool) -> None:
    """Break what a task board depends on, and watch three ways to cope.

    Starts real processes on loopback ports, sends open-loop traffic through outages and compares
    bare code, what one writes by hand, and Holdfast. First a service is slow, failing and dead;
    then a Valkey is frozen, killed and flushed; then every combination of five dependencies fails.
    Ends with code 1 if the side protected by Holdfast missed a target.
    """
    for package in EXTRA_OF:
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
    from holdfast.cli.demo.floors import FLOORS
    from holdfast.cli.demo.processes import DemoError
    from holdfast.cli.demo.run import run_demo

    floors = [each for name, each in FLOORS.items() if floor in (name, "all")]
    try:
        with _interruptible():
            passed = run_demo(
                floors,
                seconds,
                rate,
                seed,
                features=floor in ("features", "all"),
                live=not headless,
                as_json=as_json,
            )
    except DemoError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if passed else 1)


@contextmanager
def _interruptible() -> Generator[None]:
    """End the program in good order on every signal that asks for its end, not only on Ctrl-C.

    The exit code is 128 plus the number of the signal, as in a shell.
    """
    code = 128 + signal.SIGINT

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal code
        code = 128 + number
        signal.raise_signal(signal.SIGINT)  # asyncio makes a cancellation of it

    asking = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in asking}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; every process has been ended", err=True)
        sys.exit(code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
