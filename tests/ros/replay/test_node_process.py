"""Domains: one on which a node is left over is not taken."""

from __future__ import annotations

import os

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from lidarloop_ros.replay.node_process import domain_in_use, isolated_node


@pytest.mark.fault("orphan")
def test_a_domain_with_a_node_left_over_is_not_taken() -> None:
    with isolated_node("first"):
        domain = int(os.environ["ROS_DOMAIN_ID"])
    assert not domain_in_use(domain)
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    orphan = Node("lidar_detector", context=context, use_global_arguments=False)
    try:
        assert domain_in_use(domain)
        with isolated_node("second"):
            assert int(os.environ["ROS_DOMAIN_ID"]) != domain
    finally:
        orphan.destroy_node()
        rclpy.shutdown(context=context)
