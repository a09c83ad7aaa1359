"""The machine and the versions that a number was made with."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

_DISTRIBUTIONS = (
    "lidarloop_core",
    "lidarloop",
    "lidarloop_ros",
    "numpy",
    "scipy",
    "numba",
    "onnxruntime",
    "simplejpeg",
    "ros-jazzy-rclpy",
    "ros-kilted-rclpy",
)


def machine() -> dict[str, str | int | float]:
    """Processor, whether it multiplies int8 in one instruction, usable cores, memory in GB and operating system."""
    return {
        "cpu": _cpu_name(),
        "int8_instructions": has_int8_instructions(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
    }


def has_int8_instructions() -> bool:
    """Whether the processor has dot products of int8 (x86: VNNI; Arm: dotprod), which int8 networks gain most from."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"})


def load_1min() -> float | None:
    """Mean number of running processes in the last minute: what times were measured beside; None where not known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def versions(*more: str) -> dict[str, str]:
    """Python's version and those of the distributions that make or can change a result, where they are installed.

    Args:
        more: names of further distributions, e.g. those a figure is compared with.
    """
    installed = (name for name in (*_DISTRIBUTIONS, *more) if is_installed(name))
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in installed}


def is_installed(distribution: str) -> bool:
    """Whether a Python package of this name is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def ros_distro(environment: Mapping[str, str] = os.environ) -> str | None:
    """Name of the sourced ROS 2 distribution, else of the one whose wheels are installed; None where there is none."""
    from_pip = (distro for distro in ("jazzy", "kilted") if is_installed(f"ros-{distro}-rclpy"))
    return environment.get("ROS_DISTRO") or next(from_pip, None)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
