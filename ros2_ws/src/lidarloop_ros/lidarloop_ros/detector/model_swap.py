"""ModelSwap: replaces the model in use by another, between two clouds, without losing one.

The parameter ``model`` names the file. Setting it while the node is configured starts the swap. The service
``~/load_model`` (std_srvs/Trigger, a type of every ROS, so no interface package must be built) waits for the swap that
is under way, or loads the file again, and answers with the outcome. A thread of its own reads, verifies and warms up
the new model while the old one goes on detecting. If the new model cannot be used, or is not ready within
``model_swap_timeout_s``, everything stays as it was, and the parameter is set back to the model in use.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Protocol

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future, Task
from std_srvs.srv import Trigger

from lidarloop_core.errors import LidarloopError, ModelFileError
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.inference.sweep_pipeline import SweepPipeline
from lidarloop_core.model.spec import ModelSpec


class SwapHost(Protocol):
    """The node, as far as a swap needs it. Called by the executor's thread, except for what ``opener`` returns."""

    def model_in_use(self) -> tuple[str, Detector | Segmenter] | None:
        """Path of the model and its detector or segmenter; None while the node is not configured."""
        ...

    def model_wanted(self) -> str:
        """The parameter ``model``."""
        ...

    def swap_timeout_s(self) -> float:
        """The parameter ``model_swap_timeout_s``, seconds."""
        ...

    def opener(self, model: str) -> Callable[[], SweepPipeline]:
        """A function that opens and warms up a model with the node's present settings; the loading thread calls it."""
        ...

    def install(self, model: str, sweeps: SweepPipeline) -> None:
        """Detects the clouds from the next one on with this model. Raises LidarloopError if that is impossible."""
        ...


class ModelSwap:
    """The service and the swap behind it.

    Args:
        node: owns the service.
        host: the same node, as a swap sees it.

    Attributes:
        problem: why the last swap did not take place, or "".
    """

    def __init__(self, node: Node, host: SwapHost) -> None:
        self._node = node
        self._host = host
        self._task: Task | None = None
        self._loading = ""
        self.problem = ""
        # A callback group of its own: a callback that waits keeps its group's other callbacks from running.
        node.create_service(Trigger, "~/load_model", self._on_request, callback_group=ReentrantCallbackGroup())

    @property
    def _executor(self) -> Executor:
        executor = self._node.executor
        assert executor is not None  # a node that receives a request is being spun
        return executor

    @property
    def engine(self) -> str:
        """``none``, ``ready`` or ``loading …``, for the diagnostics."""
        if self._loading:
            return f"loading {self._loading}"
        return "none" if self._host.model_in_use() is None else "ready"

    @property
    def is_loading(self) -> bool:
        """Whether a swap is under way."""
        return self._task is not None and not self._task.done()

    def start(self) -> Task:
        """Begins a swap, unless one is under way; the task's result is (whether it took place, message)."""
        if self._task is None or self._task.done():
            self._task = self._executor.create_task(self._swap)
        return self._task

    async def _on_request(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._host.model_in_use() is None:
            response.success, response.message = False, "the node is not configured: configuring it loads the model"
        else:
            response.success, response.message = await self.start()
        return response

    async def _swap(self) -> tuple[bool, str]:
        in_use = self._host.model_in_use()
        wanted = self._host.model_wanted()
        self._loading = wanted
        try:
            if in_use is None:
                raise ModelFileError(f"{wanted}: the node was cleaned up; configuring it loads the model")
            opened = await self._opened(wanted)
            require_same_answers(opened.model.spec, in_use[1].spec)
            if not self._is_still(in_use[1]):
                raise ModelFileError(
                    f"{wanted}: the node was cleaned up or configured meanwhile; call the service again"
                )
            self._host.install(wanted, opened)
        except Exception as error:
            return self._roll_back(error)
        finally:
            self._loading = ""
            self._executor.wake()  # so that it resumes what waits for this task
        self.problem = ""
        model = opened.model
        return True, f"{_name(in_use[1])} → {_name(model)} on {model.backend.device}"

    def _is_still(self, model: Detector | Segmenter) -> bool:
        in_use = self._host.model_in_use()
        return in_use is not None and in_use[1].backend is model.backend

    async def _opened(self, model: str) -> SweepPipeline:
        """Opens the model in a thread of its own; meanwhile the executor goes on with other work."""
        loading, executor, open_model = _Loading(), self._executor, self._host.opener(model)
        limit_s = self._host.swap_timeout_s()

        def work() -> None:
            try:
                loading.loaded(open_model())
            except Exception as error:
                loading.failed(error)
            executor.wake()

        def give_up() -> None:
            loading.failed(
                ModelFileError(
                    f"{model} was not ready within {limit_s:g} s; expected a file on a disk that answers, or a larger "
                    "model_swap_timeout_s: building an engine takes minutes, `lidarloop build-engine` does it before"
                )
            )
            executor.wake()

        threading.Thread(target=work, name="model loading", daemon=True).start()
        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            opened: SweepPipeline = await loading.done
        finally:
            timer.cancel()
        return opened

    def _roll_back(self, error: Exception) -> tuple[bool, str]:
        is_known = isinstance(error, LidarloopError)
        reason = str(error) if is_known else "".join(traceback.format_exception(error))
        in_use = self._host.model_in_use()
        self.problem = f"model not taken: {reason}"
        if in_use is not None:
            self.problem += f"; {_name(in_use[1])} goes on"
            self._node.set_parameters([Parameter("model", value=in_use[0])])
        self._node.get_logger().error(self.problem)
        return False, self.problem


class _Loading:
    """What comes of opening a model: the first of a result, an error and the end of the time; called by any thread.

    Attributes:
        done: the outcome.
    """

    def __init__(self) -> None:
        self.done = Future()
        self._lock = threading.Lock()

    def loaded(self, opened: SweepPipeline) -> None:
        with self._lock:
            if not self.done.done():
                self.done.set_result(opened)
                return
        opened.close()  # too late: the request has been answered

    def failed(self, error: Exception) -> None:
        with self._lock:
            if not self.done.done():
                self.done.set_exception(error)


def require_same_answers(new: ModelSpec, old: ModelSpec) -> None:
    """Refuses a model that subscribers would wait for in vain, or whose labels they would take for other classes.

    Raises:
        ModelFileError: one is a detector and the other a segmenter, or the class names differ.
    """
    if new.outputs.kind != old.outputs.kind:
        raise ModelFileError(
            f"{new.name} is a model for {new.outputs.kind}; expected one for {old.outputs.kind} like {old.name}, whose "
            "topics the node publishes: clean the node up and configure it again"
        )
    if new.class_names != old.class_names:
        raise ModelFileError(
            f"{new.name} has the classes {', '.join(new.class_names)}; expected those of {old.name}, "
            f"{', '.join(old.class_names)}, which the node's subscribers use: clean the node up and configure it again"
        )


def _name(model: Detector | Segmenter) -> str:
    return f"{model.spec.name} ({model.backend.model_sha256[:12]})"
