"""Hostile messages still have the types of their fields: a bag can hold each of them."""

from __future__ import annotations

from random import Random

from lidarloop_core.io.bag import typestore
from tests.fuzz.ros_messages import hostile, recorded


def test_hostile_messages_can_be_recorded() -> None:
    by_kind = {message.__msgtype__: message for _, _, message in recorded()}
    for seed in range(40):
        for kind, message in by_kind.items():
            assert typestore().serialize_cdr(hostile(Random(seed), message), kind)
