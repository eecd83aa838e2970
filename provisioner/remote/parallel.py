# SPDX-License-Identifier: Apache-2.0
"""Work on many hosts at once; one that hangs or fails holds up no other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from provisioner.errors import HostError

Item = TypeVar("Item")
Out = TypeVar("Out")
AT_ONCE = 32


def each(
    items: Sequence[Item], work: Callable[[Item], Out], *, seconds: float, at_once: int = AT_ONCE
) -> Iterator[tuple[Item, Out | HostError]]:
    """Yield each item with what `work` returned or the HostError it raised, as soon as it is known.

    An item without a result `seconds` after its start gets a HostError. Any other exception is raised here.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Out | BaseException]] = queue.SimpleQueue()
    began: dict[int, float] = {}
    for number in range(len(items)):
        waiting.put(number)

    def worker() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            began[number] = time.monotonic()
            try:
                done.put((number, work(items[number])))
            except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
                done.put((number, error))

    # Daemons: a thread that hangs in a name lookup must not keep the command from ending.
    for _ in range(min(at_once, len(items))):
        threading.Thread(target=worker, daemon=True).start()
    yield from _collect(items, done, began, worker, seconds)


def _collect(
    items: Sequence[Item],
    done: queue.SimpleQueue[tuple[int, Out | BaseException]],
    began: dict[int, float],
    worker: Callable[[], None],
    seconds: float,
) -> Iterator[tuple[Item, Out | HostError]]:
    left = set(range(len(items)))
    while left:
        try:
            number, result = done.get(timeout=0.2)
        except queue.Empty:
            late = [number for number in left & set(began) if time.monotonic() - began[number] > seconds]
            for number in late:
                left.discard(number)
                # Its thread is lost to the others, so start another one.
                threading.Thread(target=worker, daemon=True).start()
                step = "check its load and its disks; the work may still be running there"
                yield items[number], HostError(f"no result within {seconds:g} s", step)
            continue
        if number not in left:
            continue
        left.discard(number)
        if isinstance(result, BaseException) and not isinstance(result, HostError):
            raise result
        yield items[number], result
