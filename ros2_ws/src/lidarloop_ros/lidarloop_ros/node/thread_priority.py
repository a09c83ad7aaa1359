"""Priority of single threads."""

from __future__ import annotations

import os
import threading

# Against a thread of usual priority on the same core this is a tenth of its time: enough never to starve.
_NICE = 10


def lower_priority() -> None:
    """Makes the calling thread wait where another wants its core: for work without a deadline.

    On Linux alone threads have a priority of their own, and it counts within a session: start the nodes by one launch.
    """
    thread = threading.get_native_id()
    # Never back up: that takes privileges.
    os.setpriority(os.PRIO_PROCESS, thread, max(_NICE, os.getpriority(os.PRIO_PROCESS, thread)))
