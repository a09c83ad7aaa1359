"""LifecycleShell: the base of our nodes: transitions that never end the process, one diagnostic status a second."""

from __future__ import annotations

import gc
import platform
import traceback
from abc import ABC, abstractmethod
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from lidarloop_core.errors import ConfigError, LidarloopError
from lidarloop_ros.node import params
from lidarloop_ros.node.lifecycle_guard import refuse_impossible_transitions
from lidarloop_ros.node.params import NodeParams

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LifecycleShell(LifecycleNode, ABC):
    """A lifecycle node that works in threads of its own. Unconfigured it holds parameters and diagnostics alone.

    Args:
        name: the node's default name.
        settings: class of the node's parameters, which are declared at once.
        kwargs: passed on to ``rclpy.lifecycle.LifecycleNode``.

    Attributes:
        configure_problem: why configuring failed last time, or "".
        ended: done when the node cannot go on; its result is the reason.
    """

    def __init__(self, name: str, settings: type[NodeParams], **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        refuse_impossible_transitions(self)
        self.ended: Future = Future()
        self.configure_problem = ""
        self._bad_overrides = params.declare(self, settings)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: a paused or missing /clock must not silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    # --- what a node does ---------------------------------------------------------------------------------------------

    @abstractmethod
    def configure(self) -> None:
        """Reads the parameters, loads what is needed, listens and publishes, but does not work yet.

        Raises:
            LidarloopError: a parameter or file cannot be used; everything made so far has been released.
        """

    @abstractmethod
    def start(self) -> None:
        """Begins to work; called after ``configure`` or ``stop``."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the work, and waits for its end. Called in any state."""

    @abstractmethod
    def release(self) -> None:
        """Releases what ``configure`` made. Called in any state."""

    @abstractmethod
    def diagnose(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        """The diagnostic status of what happened since the last call."""

    # --- lifecycle ----------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configures the node; on failure the reason is logged once, and the node stays unconfigured."""
        try:
            self.configure()
        except LidarloopError as error:
            return self._refuse_to_configure(str(error))
        except Exception:  # rclpy would drop it without a message
            if not self.context.ok():
                return FAILURE  # a signal has shut ROS down meanwhile: nothing can be made any more
            return self._refuse_to_configure(traceback.format_exc())
        self.configure_problem = ""
        # Everything imported and loaded so far lives as long as the process. A full garbage collection need not visit
        # it, which would take tens of milliseconds in the middle of a cloud.
        gc.collect()
        gc.freeze()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts to take messages."""
        result = super().on_activate(state)
        self.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops taking messages; what was loaded stays."""
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Releases what was loaded."""
        result = super().on_cleanup(state)
        self._release_all()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends the work in any state."""
        self.stop()
        self._release_all()
        return SUCCESS

    def destroy_node(self) -> None:
        self.stop()
        super().destroy_node()

    def _release_all(self) -> None:
        self.release()
        gc.unfreeze()

    def _refuse_to_configure(self, reason: str) -> TransitionCallbackReturn:
        self.configure_problem = f"not configured: {reason}"
        self.get_logger().error(self.configure_problem)
        return FAILURE

    def refuse_overrides(self, *, but_qos: bool = False) -> None:
        """Refuses overrides that cannot be used.

        Args:
            but_qos: whether to skip QoS overrides, which are declared only with their publisher or subscription.

        Raises:
            ConfigError: an override is unknown, or of another type or range.
        """
        problems = [*self._bad_overrides, *params.unknown_overrides(self, but_qos=but_qos)]
        if problems:
            raise ConfigError("; ".join(problems))

    # --- diagnostics --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The lifecycle state, e.g. "active"."""
        return str(self._state_machine.current_state[1])

    def report_end(self) -> None:
        """Logs and publishes why the node ends; called by ``runner.run``."""
        self.get_logger().error(f"the node ends: {self.ended.result()}")
        self._publish_diagnostics()
        self._diagnostics.wait_for_all_acked(Duration(seconds=1))

    def _publish_diagnostics(self) -> None:
        entry = self.diagnose(name=self.get_fully_qualified_name().lstrip("/"), hardware_id=platform.node())
        array = DiagnosticArray(status=[entry])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)
