"""Members of zip archives from outside: of a bounded size, in memory."""

from __future__ import annotations

import struct
import zipfile
import zlib

DAMAGED_ZIP = (
    OSError,
    EOFError,
    RuntimeError,  # an encrypted member; NotImplementedError, which is one, for an unknown compression
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What the standard library raises for an archive that is damaged, encrypted or of a compression it does not know."""


def read_member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """One member's bytes, with its checksum verified.

    Args:
        archive: the open archive.
        name: name of the member.
        most_bytes: largest size that is unpacked, bytes. The archive's word for the size is not relied on.

    Raises:
        KeyError: there is no such member.
        ValueError: it is larger.
        OSError, EOFError, RuntimeError, BadZipFile, zlib.error, struct.error: see ``DAMAGED_ZIP``.
    """
    with archive.open(name) as member:
        data = member.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"{name} unpacks to more than {most_bytes} bytes")
    return data
