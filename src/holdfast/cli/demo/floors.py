"""The floors there are, in the order in which they are shown."""

from __future__ import annotations

from holdfast.cli.demo.cache import CACHE
from holdfast.cli.demo.calls import CALLS
from holdfast.cli.demo.floor import Floor

FLOORS: dict[str, Floor] = {floor.name: floor for floor in (CALLS, CACHE)}
