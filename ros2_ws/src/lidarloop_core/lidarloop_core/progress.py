"""Progress bars that stay away where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

T = TypeVar("T")


def progress(items: Sequence[T], description: str) -> Iterable[T]:
    """The items, with a bar on a terminal and silently in a log."""
    console = Console(stderr=True)
    return track(items, description, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def counted(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal for work that counts itself; nothing in a log.

    Gives what to call with the number of items done and the number of all.
    """
    console = Console(stderr=True)
    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
