"""rclpy's message classes for the conversions of ``lidarloop_core.io.messages``."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any


@lru_cache(maxsize=64)
def message_type(name: str) -> Any:
    """The message class for a type name, e.g. ``"sensor_msgs/msg/PointCloud2"``: the ``types`` of ``io.messages``.

    Raises:
        ModuleNotFoundError: no such interface package.
        AttributeError: no such message in it.
    """
    package, _, class_name = name.split("/")
    return getattr(import_module(f"{package}.msg"), class_name)
