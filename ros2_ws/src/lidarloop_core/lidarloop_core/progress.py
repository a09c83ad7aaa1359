"""Progress bars of all commands: one look, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def progress_bars(*, refresh_hz: float = 10.0) -> Progress:
    """An empty display on stderr, to be used as a context manager; ``add_task`` adds a bar.

    Where stderr is no terminal nothing is drawn, so that logs stay readable. At the end the bars are removed.

    Args:
        refresh_hz: how often bars are redrawn, per second.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=refresh_hz,
        transient=True,
        disable=not console.is_terminal,
    )


def progress(items: Sequence[T], description: str) -> Generator[T, None, None]:
    """Yields the items, beside a bar that counts them.

    Args:
        items: what to go through.
        description: what is done with them, e.g. ``"reading the ground truth"``.
    """
    with progress_bars() as bars:
        yield from bars.track(items, description=description)


@contextmanager
def counted(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that counts itself; gives what to call with the number of items done and the number of all.

    Args:
        description: what is done, e.g. ``"salvaging"``.
    """
    with progress_bars() as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
