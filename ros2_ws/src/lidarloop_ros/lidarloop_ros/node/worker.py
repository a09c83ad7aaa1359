"""Worker: a thread beside the executor's, in which a node does its work, one item after another."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from lidarloop_ros.node.thread_priority import lower_priority

Item = TypeVar("Item")
ItemOut = TypeVar("ItemOut", covariant=True)


class Source(Protocol[ItemOut]):
    """Hands the newest item to the worker and drops older ones, so that no backlog builds up."""

    def take(self) -> ItemOut | None:
        """Waits for an item; None once the source is closed."""
        ...

    def close(self) -> None:
        """Ends all waiting; nothing is handed over any more."""
        ...


class Worker(ABC, Generic[Item]):
    """A thread that works on what a source hands over. An exception costs one item, never the thread.

    Runs from its construction until ``stop``, or until ``_failed`` returns False. A subclass calls this constructor
    last, because the new thread uses the subclass at once.

    Args:
        source: where the items come from; ``stop`` closes it.
        name: the thread's name.
        low_priority: whether threads of usual priority get a core first.
    """

    def __init__(self, source: Source[Item], name: str, *, low_priority: bool = False) -> None:
        self._source = source
        self._low_priority = low_priority
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the item it works on, and waits for that."""
        self._source.close()
        self._thread.join()

    @abstractmethod
    def _work(self, item: Item) -> None:
        """Works on one item."""

    @abstractmethod
    def _failed(self, error: Exception) -> bool:
        """Counts and reports an exception that left ``_work``; returns whether the thread goes on."""

    def _run(self) -> None:
        if self._low_priority:
            lower_priority()
        while (item := self._source.take()) is not None:
            try:
                self._work(item)
            except Exception as error:  # one bad item must not end the work on those after it
                if not self._failed(error):
                    return
