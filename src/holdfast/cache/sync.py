"""The cache for code without an event loop: Django and Flask views, scripts, Celery tasks.

It is the same cache. Calls are carried to the event loop on which the cache lives, or, if it has
none yet, to one in a thread of its own. A hit in memory is answered where it was asked for, without
that detour.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from holdfast._core.fork import SharedLock
from holdfast.cache.answers import Lookup, WriteStatus
from holdfast.cache.engine import Engine
from holdfast.cache.errors import CacheError
from holdfast.cache.namespace import MISSING, Namespace
from holdfast.cache.options import given

if TYPE_CHECKING:
    from typing import Unpack

    from holdfast.cache.cache import Defaults, ResilientCache

T = TypeVar("T")

GLANCE: Final = 1.0
"""Seconds between looks at whether the loop that owes an answer is still there."""


class SyncNamespace:
    """A namespace for synchronous code. Each method is that of `Namespace`, and blocks.

    Thread safe. Not to be called from a coroutine: use the methods of `Namespace` there.
    """

    __slots__ = ("_namespace",)

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    @property
    def name(self) -> str:
        """The name of the namespace; empty for that of the cache itself."""
        return self._namespace.name

    def get(self, key: str, default: Any = None, *, type: Any = None, **options: Any) -> Any:
        """See `Namespace.get`."""
        if type is None:
            value = self._namespace.glance(key)
            if value is not MISSING:
                return value
        return self._run(lambda: self._namespace.get(key, default, type=type, **options))

    def get_many(self, keys: Iterable[str], **options: Any) -> dict[str, Any]:
        """See `Namespace.get_many`."""
        return self._run(lambda: self._namespace.get_many(keys, **options))

    def lookup(self, key: str, **options: Any) -> Lookup[Any]:
        """See `Namespace.lookup`."""
        return self._run(lambda: self._namespace.lookup(key, **options))

    def exists(self, key: str) -> bool:
        """See `Namespace.exists`."""
        return self._run(lambda: self._namespace.exists(key))

    def ttl(self, key: str) -> float | None:
        """See `Namespace.ttl`."""
        return self._run(lambda: self._namespace.ttl(key))

    def set(self, key: str, value: Any, **options: Any) -> WriteStatus:
        """See `Namespace.set`."""
        return self._run(lambda: self._namespace.set(key, value, **options))

    def set_many(self, values: Mapping[str, Any], **options: Any) -> dict[str, WriteStatus]:
        """See `Namespace.set_many`."""
        return self._run(lambda: self._namespace.set_many(values, **options))

    def delete(self, key: str, *, require_redis: bool = False) -> WriteStatus:
        """See `Namespace.delete`."""
        return self._run(lambda: self._namespace.delete(key, require_redis=require_redis))

    def delete_many(
        self, keys: Iterable[str], *, require_redis: bool = False
    ) -> dict[str, WriteStatus]:
        """See `Namespace.delete_many`."""
        return self._run(lambda: self._namespace.delete_many(keys, require_redis=require_redis))

    def touch(self, key: str, **options: Any) -> bool:
        """See `Namespace.touch`."""
        return self._run(lambda: self._namespace.touch(key, **options))

    def clear(self, *, require_redis: bool = False) -> WriteStatus:
        """See `Namespace.clear`."""
        return self._run(lambda: self._namespace.clear(require_redis=require_redis))

    def incr(self, key: str, amount: int = 1, **options: Any) -> int:
        """See `Namespace.incr`."""
        return self._run(lambda: self._namespace.incr(key, amount, **options))

    def get_or_set(self, key: str, loader: Callable[[], T], **options: Any) -> Any:
        """See `Namespace.get_or_set`."""
        return self.lookup_or_set(key, loader, **options).value

    def lookup_or_set(
        self, key: str, loader: Callable[[], T], *, type: Any = None, **options: Any
    ) -> Lookup[Any]:
        """See `Namespace.lookup_or_set`.

        The loader runs in this thread, so what belongs to the thread (a database connection, say)
        is at hand. It cannot be cut off: a timeout lets the others go on without it.
        """
        errand = _Errand(loader)
        answer = self._begin(
            lambda: self._namespace.obtain(
                key, errand.ask, given(**options), type=type, linger=True
            )
        )
        answer.add_done_callback(lambda _: errand.dismiss())
        errand.run()
        return self._wait(answer)

    # -- inside --------------------------------------------------------------------------------

    @property
    def _engine(self) -> Engine:
        return self._namespace.engine

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._wait(self._begin(work))

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        loop = _loop_of(self._engine)
        if asyncio._get_running_loop() is loop:
            raise RuntimeError(
                "cache.sync would block the event loop on which the cache lives: await the methods "
                "of the cache itself in coroutines"
            )
        return asyncio.run_coroutine_threadsafe(work(), loop)

    def _wait(self, answer: Future[T]) -> T:
        loop = self._engine.loop
        try:
            while True:
                try:
                    return answer.result(GLANCE)
                except TimeoutError:
                    if answer.done():
                        return answer.result()
                    if loop is None or not loop.is_running():
                        raise CacheError("the event loop of the cache has ended") from None
                except CancelledError:
                    raise CacheError("the event loop of the cache has ended") from None
        except BaseException:
            answer.cancel()
            raise


class SyncCache(SyncNamespace):
    """`ResilientCache.sync`: the cache for synchronous code.

    ``with cache.sync:`` closes the cache at the end; so does `close`.
    """

    __slots__ = ("_cache",)

    def __init__(self, cache: ResilientCache) -> None:
        super().__init__(cache)
        self._cache = cache

    def namespace(self, name: str, **defaults: Unpack[Defaults]) -> SyncNamespace:
        """See `ResilientCache.namespace`."""
        return SyncNamespace(self._cache.namespace(name, **defaults))

    def close(self) -> None:
        """See `ResilientCache.aclose`."""
        engine = self._engine
        if engine.loop is not None and not engine.loop.is_closed():
            loop = engine.loop
            self._run(self._cache.aclose)
            own = release(loop)
            if own is not None:
                own.join()

    def __enter__(self) -> Self:
        _loop_of(self._engine)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_starting: Final = SharedLock()
_threads: Final[dict[asyncio.AbstractEventLoop, threading.Thread]] = {}
"""The loops that were made here, each with the thread it runs in."""


def _loop_of(engine: Engine) -> asyncio.AbstractEventLoop:
    """The loop on which the cache lives; a new one in a thread of its own if there is none."""
    with _starting.lock:
        loop = engine.loop
        if loop is not None and not loop.is_closed():
            return loop
        fresh = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(fresh,), name="holdfast-cache", daemon=True)
        thread.start()
        _threads[fresh] = thread

        async def attach() -> None:
            engine.attach()

        try:
            asyncio.run_coroutine_threadsafe(attach(), fresh).result()
        except BaseException:
            del _threads[fresh]
            fresh.call_soon_threadsafe(fresh.stop)
            raise
        return fresh


def release(loop: asyncio.AbstractEventLoop) -> threading.Thread | None:
    """End the loop if it was made here; the thread that ends with it."""
    own = _threads.pop(loop, None)
    if own is not None:
        loop.call_soon_threadsafe(loop.stop)
    return own


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # Whoever still waits for something here is told by the cancellation.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        loop.close()


class _Errand:
    """A loader that the cache's loop asks for and this thread carries out."""

    def __init__(self, loader: Callable[[], Any]) -> None:
        self._loader = loader
        self._wanted: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self._dismissed = False

    async def ask(self) -> Any:
        """On the loop: have the loader run, and wait for what it gives."""
        promise: Future[Any] = Future()
        if self._dismissed:
            raise CacheError("the thread that was to load the value has left")
        self._wanted.put(promise)
        return await asyncio.wrap_future(promise)

    def dismiss(self) -> None:
        """On the loop: nobody will ask any more."""
        self._dismissed = True
        self._wanted.put(None)

    def run(self) -> None:
        """In the thread: do what is asked for until dismissed."""
        while (promise := self._wanted.get()) is not None:
            if not promise.set_running_or_notify_cancel():
                continue
            try:
                promise.set_result(self._loader())
            except Exception as error:
                promise.set_exception(error)
            except BaseException:
                promise.set_exception(
                    CacheError("the thread that was to load the value was interrupted")
                )
                raise
