"""Worker: an exception costs one item, ``_failed`` may end the thread, and ``stop`` waits for the item in work."""

from __future__ import annotations

import os
import threading

import pytest

from lidarloop_ros.node.mailbox import Mailbox
from lidarloop_ros.node.worker import Worker


class Recorder(Worker[int]):
    """Keeps the items; raises for odd ones, and ends after a failure on a negative one."""

    def __init__(self, source: Mailbox[int], *, low_priority: bool = False) -> None:
        self.worked: list[int] = []
        self.errors: list[str] = []
        self.nice = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        super().__init__(source, "recording", low_priority=low_priority)

    def _work(self, item: int) -> None:
        self.nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.begun.set()
        assert self.may_end.wait(30)
        if item % 2:
            raise ValueError(f"odd: {item}")
        self.worked.append(item)

    def _failed(self, error: Exception) -> bool:
        self.errors.append(str(error))
        return "-" not in str(error)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def source() -> Mailbox[int]:
    return Mailbox()


def work_on(recorder: Recorder, source: Mailbox[int], item: int) -> None:
    """Hands an item over once the recorder waits for it."""
    recorder.begun.clear()
    assert not source.put(item)
    assert recorder.begun.wait(30)


def test_an_exception_costs_one_item(source: Mailbox[int]) -> None:
    recorder = Recorder(source)
    for item in (2, 3, 4):
        work_on(recorder, source, item)
    recorder.stop()
    assert (recorder.worked, recorder.errors) == ([2, 4], ["odd: 3"])


def test_a_failure_that_cannot_be_survived_ends_the_thread(source: Mailbox[int]) -> None:
    recorder = Recorder(source)
    work_on(recorder, source, -1)
    recorder._thread.join(30)
    assert not recorder.is_running
    assert recorder.errors == ["odd: -1"]
    recorder.stop()


def test_stop_waits_for_the_item_in_work_and_drops_the_next(source: Mailbox[int]) -> None:
    recorder = Recorder(source)
    recorder.may_end.clear()
    work_on(recorder, source, 2)
    source.put(4)
    stopper = threading.Thread(target=recorder.stop)
    stopper.start()
    stopper.join(0.1)
    assert stopper.is_alive()
    recorder.may_end.set()
    stopper.join(30)
    assert not recorder.is_running
    assert recorder.worked == [2]


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="no priorities here")
def test_low_priority_holds_for_the_thread_alone(source: Mailbox[int]) -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    recorder = Recorder(source, low_priority=True)
    work_on(recorder, source, 2)
    recorder.stop()
    assert recorder.nice == max(10, before)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
