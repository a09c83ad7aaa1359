"""Worker processes that end with their parent, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any


def worker_pool(
    num_workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """A pool of spawned processes: forking a process that has other threads (torch's, numba's) may lock up.

    Args:
        num_workers: processes, ≥ 1.
        initializer: called in each worker with ``arguments``; must be picklable.
        arguments: sent once to each worker.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, context, _start, (initializer, arguments))


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with_parent() -> None:
    """A killed parent cannot shut its pool down, and a worker waiting for work would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
