"""What the diagnostics of all nodes share: after which silence they warn, and the form of a status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from lidarloop_core.errors import shortened

# Longer than the time between two reports: a report about a cloud never complains of silence.
SILENT_AFTER_S = 1.5
STALE_AFTER_S = 5.0
# Characters. Reasons may quote names and texts that others send.
LONGEST_MESSAGE = 8000


def make_status(
    level: bytes, reasons: Sequence[str], values: Mapping[str, object], *, name: str, hardware_id: str
) -> DiagnosticStatus:
    """The message of one report.

    Args:
        level: one of ``DiagnosticStatus``'s constants.
        reasons: one line for each rule that gave the level.
        values: figures by name.
        name: the node's fully qualified name, without the leading slash.
        hardware_id: name of the computer.
    """
    pairs = [KeyValue(key=key, value=shortened(str(value))) for key, value in values.items()]
    message = shortened("; ".join(shortened(reason) for reason in reasons), LONGEST_MESSAGE)
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware_id, values=pairs)
