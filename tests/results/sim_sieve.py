"""Row 8: misses of LRU and of SIEVE on a trace of block requests, with sizes.

The rules of libCacheSim, whose figures these are: a request is for an object and a size. If the
object is there, it is a hit, and its size stays what it was when it was stored. Otherwise it is a
miss, and the object is stored, unless it is larger than the whole cache.

The trace is not part of this repository: it is `data/cloudPhysicsIO.oracleGeneral.bin` of
1a1a11a/libCacheSim, as a (compressed) text of one `object,size` per line. Without it, the tests
compare with `NaiveSieve` on requests drawn from Zipf's law, with scans in between.
"""

from __future__ import annotations

import lzma
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf
from pathlib import Path
from random import Random
from typing import Protocol

from published_figure import Figure

from holdfast._core.sieve import Sieve

Request = tuple[str, int]

MEBIBYTE = 1 << 20
CAPACITIES = [128 * step * MEBIBYTE for step in range(1, 9)]
PUBLISHED = {
    "LRU": [93374, 89783, 83572, 81722, 72494, 72104, 71972, 71704],
    "SIEVE": [91699, 86720, 78578, 76707, 69945, 66221, 64445, 64376],
}


class Cache(Protocol):
    def hit(self, request: Request) -> bool:
        """Serve one request."""
        ...


class Ours:
    """Holdfast's store, with the sizes as they are and nothing that expires."""

    def __init__(self, capacity: int) -> None:
        self.store: Sieve[bool] = Sieve(capacity, overhead=0)

    def hit(self, request: Request) -> bool:
        key, size = request
        if self.store.get(key, 0.0):
            return True
        self.store.put(key, True, size, inf, inf, 0.0)
        return False


class Lru:
    """Least recently used."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.objects: OrderedDict[str, int] = OrderedDict()

    def hit(self, request: Request) -> bool:
        key, size = request
        if key in self.objects:
            self.objects.move_to_end(key)
            return True
        if size <= self.capacity:
            while self.used + size > self.capacity:
                self.used -= self.objects.popitem(last=False)[1]
            self.objects[key] = size
            self.used += size
        return False


class NaiveSieve:
    """The paper's words in plain lists: slow, and sharing no line with the store."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue: list[Request] = []
        """Head first, as the paper draws it."""
        self.visited: set[str] = set()
        self.hand: str | None = None

    def hit(self, request: Request) -> bool:
        key, size = request
        if any(key == other for other, _ in self.queue):
            self.visited.add(key)
            return True
        if size <= self.capacity:
            while sum(used for _, used in self.queue) + size > self.capacity:
                self.evict()
            self.queue.insert(0, request)
        return False

    def evict(self) -> None:
        keys = [key for key, _ in self.queue]
        index = len(keys) - 1 if self.hand is None else keys.index(self.hand)
        while keys[index] in self.visited:
            self.visited.remove(keys[index])
            index = index - 1 if index else len(keys) - 1
        self.hand = keys[index - 1] if index else None
        del self.queue[index]


def misses(cache: Cache, requests: Iterable[Request]) -> int:
    return sum(not cache.hit(request) for request in requests)


def read(path: Path) -> list[Request]:
    """A trace from a text file, compressed with xz or not."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    pairs = (line.split(",") for line in data.decode("ascii").splitlines())
    return [(key, int(size)) for key, size in pairs]


def zipf(seed: int, length: int, objects: int = 400, exponent: float = 1.0) -> Iterator[Request]:
    """Requests for object *i* in proportion to 1 / *i* ** exponent; each has one size for good."""
    draw = Random(seed)
    weights = list(accumulate(1 / rank**exponent for rank in range(1, objects + 1)))
    sizes = [draw.choice([1, 2, 4, 4, 8, 20]) for _ in range(objects)]
    for index in draw.choices(range(objects), cum_weights=weights, k=length):
        yield str(index), sizes[index]


def with_scans(requests: Iterable[Request], every: int, length: int) -> Iterator[Request]:
    """After each `every` requests, `length` objects that nobody asks for a second time."""
    for number, request in enumerate(requests, 1):
        yield request
        if number % every == 0:
            for step in range(length):
                yield f"scan-{number}-{step}", 4


def figures(path: Path) -> Sequence[Figure]:
    """All sixteen counts, from the trace in `path`."""
    requests = read(path)
    caches: dict[str, Callable[[int], Cache]] = {"LRU": Lru, "SIEVE": Ours}
    return [
        Figure(
            8, f"{name} misses, {capacity // MEBIBYTE} MiB", misses(cache(capacity), requests), n
        )
        for name, cache in caches.items()
        for capacity, n in zip(CAPACITIES, PUBLISHED[name], strict=True)
    ]
