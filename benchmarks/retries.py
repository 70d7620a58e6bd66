"""The retry alone: when nothing fails, which is nearly always, and when two attempts of three do.

Waits are zero where something fails, so that the machinery is measured and not the sleeping; each
library still does what it does for a wait of zero. In sync that is mostly a ``time.sleep(0)``,
which costs a system call of some 70 µs and is most of their figures; in async, a turn of the event
loop. Stamina and backoff log every retry unless told not to; they are told not to, as the others
do not.
"""

from __future__ import annotations

from typing import Any

import backoff
import hyx.retry
import nopanic
import stamina
import stamina.instrumentation
import tenacity

from benchmarks.harness import Scenario
from benchmarks.workload import (
    ATTEMPTS,
    instant,
    instant_async,
    third_time_lucky,
    third_time_lucky_async,
)
from holdfast import Backoff, Retry

stamina.instrumentation.set_on_retry_hooks([])

tenacious = tenacity.retry(
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=tenacity.wait_none(),
    retry=tenacity.retry_if_exception_type(ConnectionError),
    reraise=True,
)
backing_off = backoff.on_exception(
    backoff.constant,
    ConnectionError,
    interval=0,
    jitter=None,
    max_tries=ATTEMPTS,
    logger=None,
)
with_stamina = stamina.retry(
    on=ConnectionError, attempts=ATTEMPTS, wait_initial=0, wait_max=0, wait_jitter=0
)

# It asks for a wait above zero.
NO_WAIT = Backoff(base=1e-9, growth="constant", jitter="none")


def ours(work: Any) -> Any:
    # Without a budget: it would refuse a caller who retries two calls of three.
    return Retry(attempts=ATTEMPTS, backoff=NO_WAIT, budget=None)(work)


BOTH = {
    "holdfast": ours,
    "nopanic": lambda work: nopanic.retry(ATTEMPTS, on=ConnectionError, backoff=0.0)(work),
    "tenacity": tenacious,
    "stamina": with_stamina,
    "backoff": backing_off,
}
ASYNC = {
    **BOTH,
    # Its `attempts` counts the retries only: one less for as many calls.
    "hyx": lambda work: hyx.retry.retry(on=ConnectionError, attempts=ATTEMPTS - 1, backoff=0.0)(
        work
    ),
}
NO_RETRY = {
    "interlock": "its retry is tenacity's",
    "pybreaker, circuitbreaker, aiobreaker, purgatory": "breakers only",
}
ASYNC_ONLY = {**NO_RETRY, "hyx": "async only"}

SCENARIOS = (
    Scenario(
        "retry-sync",
        "retry alone, sync, the first attempt succeeds",
        instant,
        BOTH,
        reference="nopanic",
        left_out=ASYNC_ONLY,
    ),
    Scenario(
        "retry-async",
        "retry alone, async, the first attempt succeeds",
        instant_async,
        ASYNC,
        reference="nopanic",
        left_out=NO_RETRY,
    ),
    Scenario(
        "retry-sync-failing",
        "retry alone, sync, two attempts fail and the third succeeds, no wait",
        third_time_lucky,
        BOTH,
        reference="nopanic",
        bare=False,
        left_out=ASYNC_ONLY,
    ),
    Scenario(
        "retry-async-failing",
        "retry alone, async, two attempts fail and the third succeeds, no wait",
        third_time_lucky_async,
        ASYNC,
        reference="nopanic",
        bare=False,
        left_out=NO_RETRY,
    ),
)
