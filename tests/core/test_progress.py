from __future__ import annotations

import io
import sys

import pytest

from lidarloop_core.progress import progress, progress_bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_yields_all_items_in_order(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    assert list(progress([3, 1, 2], "counting")) == [3, 1, 2]


def test_a_log_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert len(list(progress(range(5), "counting"))) == 5
    with progress_bars() as bars:
        bars.advance(bars.add_task("counting", total=5))
    assert log.getvalue() == ""


def test_a_terminal_shows_what_is_done_and_of_how_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bars() as bars:
        task = bars.add_task("counting", total=5)
        bars.update(task, completed=2)
        bars.refresh()
    assert "counting" in terminal.getvalue()
    assert "2/5" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_loop_left_early_takes_its_bar_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    items = progress(range(5), "counting")
    next(items)
    items.close()
    with progress_bars() as bars:  # rich refuses a second live display while one is shown
        bars.add_task("counting", total=1)
