"""qos_mismatch: the rule by which DDS matches, policy by policy."""

from __future__ import annotations

import itertools

import pytest
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from lidarloop_ros.node.graph_check import qos_mismatch

RELIABILITIES = (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
DURABILITIES = (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)
PROFILES = [
    QoSProfile(depth=1, reliability=reliability, durability=durability, deadline=Duration(nanoseconds=deadline_ns))
    for reliability, durability, deadline_ns in itertools.product(RELIABILITIES, DURABILITIES, (0, 10**8, 10**9))
]


@pytest.mark.parametrize("offered", PROFILES, ids=str)
def test_agrees_with_the_middleware_on_every_pair(offered: QoSProfile) -> None:
    for requested in PROFILES:
        compatibility, reason = qos_check_compatible(offered, requested)
        assert bool(qos_mismatch(offered, requested)) == (compatibility == QoSCompatibility.ERROR), reason


def test_a_mismatch_names_its_policy() -> None:
    def profile(**policies: object) -> QoSProfile:
        return QoSProfile(depth=1, **policies)

    assert qos_mismatch(
        profile(reliability=ReliabilityPolicy.BEST_EFFORT), profile(reliability=ReliabilityPolicy.RELIABLE)
    ).startswith("reliability:")
    assert qos_mismatch(profile(), profile(durability=DurabilityPolicy.TRANSIENT_LOCAL)).startswith("durability:")
    assert qos_mismatch(profile(), profile(deadline=Duration(seconds=1))) == (
        "deadline: inf s is offered, 1 s is requested"
    )
    assert qos_mismatch(profile(), profile(liveliness=LivelinessPolicy.MANUAL_BY_TOPIC)).startswith("liveliness:")


def test_an_unset_duration_from_discovery_is_infinite() -> None:
    discovered = QoSProfile(depth=1, deadline=Duration(nanoseconds=2**63 - 1))
    assert qos_mismatch(QoSProfile(depth=1), discovered) == qos_mismatch(discovered, QoSProfile(depth=1)) == ""
