"""Mailbox: newest wins, in any interleaving."""

from __future__ import annotations

import threading

from lidarloop_ros.node.mailbox import Mailbox


def test_a_newer_item_replaces_an_older_one() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(i) for i in range(4)] == [False, True, True, True]
    assert box.take() == 3
    assert box.put(4) is False


def test_closing_wakes_the_taker_and_forgets_the_item() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    taker = threading.Thread(target=lambda: taken.append(box.take()))
    taker.start()
    box.close()
    taker.join(5)
    assert taken == [None]
    box.put(1)
    assert box.take() is None


def test_every_item_is_taken_or_replaced_and_order_is_kept() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int] = []
    last = threading.Event()

    def take() -> None:
        while (item := box.take()) is not None:
            taken.append(item)
            if item == 19_999:
                last.set()

    taker = threading.Thread(target=take)
    taker.start()
    replaced = sum(box.put(i) for i in range(20_000))
    assert last.wait(10)
    box.close()
    taker.join(5)
    assert len(taken) + replaced == 20_000
    assert taken == sorted(taken)
