"""The ``holdfast`` command.

Its third-party packages come with extras, so this module needs none of them: `main` says in one
line what to install when one is missing.
"""

from __future__ import annotations

import sys

EXTRA_OF = {
    "click": "cli",
    "rich": "cli",
    "fastapi": "demo",
    "httpx": "demo",
    "pydantic": "demo",
    "uvicorn": "demo",
}


def main() -> None:
    """Run the command line; the entry point of the ``holdfast`` script."""
    try:
        from holdfast.cli.commands import holdfast

        holdfast(prog_name="holdfast")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        extra = EXTRA_OF[package]
        print(
            f"holdfast: {package} is not installed; get it with: pip install 'holdfast[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(1)
