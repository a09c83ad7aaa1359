"""On what machine and with which versions a number was made."""

from __future__ import annotations

from lidarloop_core.machine import describe_machine, installed_versions

_DISTRIBUTIONS = ("lidarloop_core", "lidarloop", "lidarloop_ros", "numpy", "scipy", "onnxruntime", "ros-jazzy-rclpy")


def machine() -> dict[str, str | int | float]:
    """Processor, usable cores, memory in GB and operating system."""
    return describe_machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the distributions that make or can change a result, as far as they are installed."""
    return installed_versions(_DISTRIBUTIONS)
