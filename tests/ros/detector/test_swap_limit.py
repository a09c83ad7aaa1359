"""A new model that does not come: the swap is answered as failed within its time, and the next one goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from std_srvs.srv import Trigger

from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.sweep_pipeline import SweepPipeline
from lidarloop_ros.detector.model_swap import ModelSwap
from lidarloop_ros.replay.node_process import isolated_node
from tests.builders import make_spec


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    end_s = time.monotonic() + 30
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert condition(), otherwise


class FakePipeline:
    """A model that is ready; only what a swap looks at."""

    def __init__(self, name: str) -> None:
        self.model: Any = type("Opened", (), {})()
        self.model.spec = make_spec(name=name)
        self.model.backend = type("Backend", (), {"model_sha256": "ab" * 32, "device": "none"})()
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Host:
    """A node whose model ``slow`` is ready only when ``may_end`` is set."""

    def __init__(self) -> None:
        self.used = ("old", FakePipeline("old"))
        self.wanted = "slow"
        self.may_end = threading.Event()
        self.slow = FakePipeline("slow")

    def model_in_use(self) -> tuple[str, Detector] | None:
        return self.used[0], self.used[1].model

    def model_wanted(self) -> str:
        return self.wanted

    def swap_timeout_s(self) -> float:
        return 0.2

    def opener(self, model: str) -> Callable[[], SweepPipeline]:
        def open_model() -> Any:
            if model == "slow":
                assert self.may_end.wait(60)
                return self.slow
            return FakePipeline(model)

        return open_model

    def install(self, model: str, sweeps: Any) -> None:
        self.used = (model, sweeps)


@pytest.fixture
def swapping() -> Iterator[tuple[Host, ModelSwap, Callable[[], Trigger.Response]]]:
    """A host, its swap, and a call of the service's callback that spins until it is answered."""
    with isolated_node("swap_test") as node:
        node.declare_parameter("model", "old")
        host = Host()
        swap = ModelSwap(node, host)

        def ask() -> Trigger.Response:
            executor = node.executor
            assert executor is not None
            task = executor.create_task(swap._on_request, Trigger.Request(), Trigger.Response())
            executor.wake()
            wait_until(task.done, "the service does not answer")
            return task.result()

        yield host, swap, ask
        host.may_end.set()


@pytest.mark.fault("model_swap")
def test_a_model_that_does_not_come_in_time_is_answered_and_blocks_no_other(
    swapping: tuple[Host, ModelSwap, Callable[[], Trigger.Response]],
) -> None:
    host, swap, ask = swapping
    answer = ask()
    assert not answer.success
    assert "slow was not ready within 0.2 s" in answer.message
    assert "old" in answer.message
    assert not swap.is_loading
    assert host.used[0] == "old"

    host.wanted = "next"
    answer = ask()
    assert answer.success, answer.message
    assert host.used[0] == "next"

    host.may_end.set()
    wait_until(lambda: host.slow.is_closed, "what comes too late is not freed")
    assert host.used[0] == "next", "and not installed"
