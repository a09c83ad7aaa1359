"""A node as a process of its own on an isolated DDS domain, and its lifecycle driven over services."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import domain_coordinator
import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

from lidarloop_core.errors import LidarloopError, shortened
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.node import child, fastdds
from lidarloop_ros.node.params import NodeParams

STOP_TIMEOUT_S = 10.0
START_TIMEOUT_S = 180.0
# Loading a model compiles code the first time: minutes where others keep the processor busy.
TRANSITION_TIMEOUT_S = 600.0
# The mapping of domains to ports in the RTPS standard (9.6.1.1).
_FIRST_PORT, _PORTS_PER_DOMAIN = 7400, 250
_NUM_DOMAINS = 100


Process = TypeVar("Process", bound="NodeProcess")


class NodeError(LidarloopError):
    """The node did not start, refused a transition, or died; the end of its log follows on lines of its own."""

    def __init__(self, message: str) -> None:
        ValueError.__init__(self, shortened(message))


@contextmanager
def _free_domain() -> Iterator[int]:
    """A DDS domain that no coordinated process holds, and on which no node of this machine is left over."""
    with ExitStack() as held:
        for _ in range(_NUM_DOMAINS):
            try:
                domain = int(held.enter_context(domain_coordinator.domain_id()))
            except RuntimeError:
                break
            if not domain_in_use(domain):
                yield domain
                return
    raise NodeError("every DDS domain from 1 to 100 is in use on this machine: end nodes that are left over")


def domain_in_use(domain: int) -> bool:
    """Whether a process of this machine takes part in a DDS domain: it has bound one of the domain's UDP ports.

    Known at once, unlike what discovery finds. False where the kernel lists no ports.
    """
    first = _FIRST_PORT + _PORTS_PER_DOMAIN * domain
    return any(first <= port < first + _PORTS_PER_DOMAIN for port in _bound_udp_ports())


def _bound_udp_ports() -> Iterator[int]:
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                yield int(line.split()[1].rpartition(":")[2], 16)


@contextmanager
def isolated_node(name: str, *, profile: Path | None = None) -> Iterator[Node]:
    """A node in this process, spun by a thread, on a DDS domain that no other process of this machine uses.

    Child processes started inside the block use the same domain, and the Fast DDS profile: it is in their environment.

    Args:
        name: name of the node.
        profile: the Fast DDS profile; None takes the shipped one.

    Raises:
        NodeError: every domain is in use.
    """
    with _free_domain() as domain, tempfile.TemporaryDirectory(prefix="lidarloop-") as log_folder:
        environment = {
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": log_folder,
            **fastdds.environment(profile),
        }
        with _environment(environment):
            context = Context()
            rclpy.init(args=[], context=context, domain_id=domain)
            node = Node(name, context=context, use_global_arguments=False)
            executor = SingleThreadedExecutor(context=context)
            executor.add_node(node)
            spinner = threading.Thread(target=_spin, args=(executor,), name="executor", daemon=True)
            spinner.start()
            try:
                yield node
            finally:
                executor.shutdown()
                spinner.join()
                node.destroy_node()
                rclpy.shutdown(context=context)


# Ctrl-C at the terminal reaches this process alone, which stops the node. In one session, as under a launch: priorities
# count within one.
_OWN_GROUP: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


class NodeProcess:
    """A node of this package, run by this interpreter. Use as a context manager: it never outlives the block.

    Nor does it outlive this process, even if that is killed: see ``node.child``.

    Args:
        module: e.g. ``"lidarloop_ros.detector.node"``.
        arguments: ROS arguments, e.g. remappings.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            child.command(module, ["--ros-args", *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            **_OWN_GROUP,
        )

    def __enter__(self: Process) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.stop()
        finally:
            self._log.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def require_alive(self) -> None:
        """Raises NodeError, with the end of the log, if the node has ended."""
        code = self._process.poll()
        if code is not None:
            how = f"was killed by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise NodeError(f"the node {how}; the end of its log:\n{self.log_tail()}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Sends the node a signal, and kills it if it has not ended after ``STOP_TIMEOUT_S``; returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Waits up to ``timeout_s`` seconds for the node to end by itself.

        Returns:
            Its exit code.

        Raises:
            NodeError: it has not ended in time.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NodeError(f"the node has not ended within {timeout_s:g} s:\n{self.log_tail()}") from None

    def log_tail(self, num_lines: int = 10) -> str:
        """The last lines that the node wrote to stdout and stderr."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 16_384, max(0, size - 16_384)).decode(errors="replace")
        return "\n".join(text.splitlines()[-num_lines:])

    def peak_rss_mb(self) -> float:
        """Largest resident memory so far, MB (10^6 bytes); 0 where the kernel does not give it."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0.0
        lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) * 1024 / 1e6 if lines else 0.0


class ManagedNode:
    """Drives the lifecycle and sets parameters of a node that runs in a ``NodeProcess``; waits until it answers.

    A request is lost if it is sent before the server has discovered the client, which the client cannot see. So a
    harmless one is repeated until it is answered. DDS announces endpoints in order: when the client that was made last
    is known, all are.

    Args:
        node: owns the service clients.
        process: the process that the managed node runs in.
        name: the managed node's fully qualified name.

    Raises:
        NodeError: the node died, or did not answer within ``START_TIMEOUT_S``.
    """

    def __init__(self, node: Node, process: NodeProcess, name: str) -> None:
        self._process = process
        self._name = name
        self._change_state = node.create_client(ChangeState, f"{name}/change_state")
        self._get_parameters = node.create_client(GetParameters, f"{name}/get_parameters")
        self._set_parameters = node.create_client(SetParameters, f"{name}/set_parameters")
        self._get_state = node.create_client(GetState, f"{name}/get_state")
        self._wait_for_first_answer()

    def configure(self) -> None:
        """Configures the node. Raises NodeError, with the node's reason, if it refuses."""
        self._require(Transition.TRANSITION_CONFIGURE, "configure")

    def activate(self) -> None:
        """Activates the node. Raises NodeError, with the node's reason, if it refuses."""
        self._require(Transition.TRANSITION_ACTIVATE, "activate")

    def transition(self, transition_id: int) -> bool:
        """Asks for a transition; returns whether the node made it."""
        request = ChangeState.Request(transition=Transition(id=transition_id))
        return bool(self.call(self._change_state, request).success)

    def state(self) -> State:
        """The node's lifecycle state."""
        return self.call(self._get_state, GetState.Request()).current_state

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Sets parameters, name → value. Raises NodeError if the node refuses one."""
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        results = self.call(self._set_parameters, SetParameters.Request(parameters=messages)).results
        if refused := [result.reason for result in results if not result.successful]:
            raise NodeError(f"{self._name} refused: {'; '.join(refused)}")

    def parameters(self, settings: type[NodeParams] = DetectorParams) -> dict[str, Any]:
        """Present value of every parameter of the class ``settings``, by name."""
        names = [field.name for field in dataclasses.fields(settings)]
        values = self.call(self._get_parameters, GetParameters.Request(names=names)).values
        return {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=True)}

    def call(self, client: Client, request: Any, *, timeout_s: float = TRANSITION_TIMEOUT_S) -> Any:
        """Calls a service of the node.

        Returns:
            The response.

        Raises:
            NodeError: the node died meanwhile, or did not answer within ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        self._wait(client.service_is_ready, deadline, client.srv_name)
        future = client.call_async(request)
        self._wait(future.done, deadline, client.srv_name)
        return future.result()

    def _wait_for_first_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.call(self._get_state, GetState.Request(), timeout_s=0.5)
            except NodeError:
                self._process.require_alive()
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def _wait(self, condition: Any, deadline: float, what: str) -> None:
        while not condition():
            self._process.require_alive()
            if time.monotonic() > deadline:
                raise NodeError(f"{what} did not answer; the end of the node's log:\n{self._process.log_tail()}")
            time.sleep(0.005)

    def _require(self, transition_id: int, name: str) -> None:
        if not self.transition(transition_id):
            raise NodeError(f"{self._name} refused to {name}; the end of its log:\n{self._process.log_tail(3)}")


def _spin(executor: SingleThreadedExecutor) -> None:
    with suppress(ExternalShutdownException):
        executor.spin()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
