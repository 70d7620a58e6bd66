"""The commands, as click sees them. A command imports what it needs when it runs."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from importlib.util import find_spec
from types import FrameType

import click

from holdfast.cli import EXTRA_OF

INTERRUPTED = 130
"""What shells use for a command that was ended by Ctrl-C: 128 + SIGINT."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("holdfast"), message="%(prog)s %(version)s")
def holdfast() -> None:
    """Holdfast keeps a service useful while the things it depends on fail."""


@holdfast.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=10, max=3600),
    default=40,
    show_default=True,
    help="How long the traffic lasts.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=5, max=50),
    default=20,
    show_default=True,
    help="Requests per second to each of the three task boards.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of what the users ask for.")
@click.option("--headless", is_flag=True, help="No live table: one line per phase.")
@click.option("--json", "as_json", is_flag=True, help="Print the result, and only it, as JSON.")
def demo(seconds: float, rate: float, seed: int, headless: bool, as_json: bool) -> None:
    """Break a service that a task board depends on, and watch three ways to cope.

    Starts real processes on loopback ports, sends open-loop traffic through an outage (slow,
    failing, dead, back) and compares bare code, a timeout with three retries, and Holdfast. Ends
    with code 1 if the side protected by Holdfast missed a target.
    """
    for package in EXTRA_OF:
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
    from holdfast.cli.demo.processes import DemoError
    from holdfast.cli.demo.run import run_demo

    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _leave)
    try:
        passed = run_demo(seconds, rate, seed, live=not headless, as_json=as_json)
    except KeyboardInterrupt:
        click.echo("interrupted; every process has been ended", err=True)
        sys.exit(INTERRUPTED)
    except DemoError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if passed else 1)


def _leave(number: int, frame: FrameType | None) -> None:
    """Unwind, so that nothing is left behind."""
    sys.exit(128 + number)
