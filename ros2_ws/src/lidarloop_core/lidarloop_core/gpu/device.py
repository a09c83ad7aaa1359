"""The GPU as a ``launcher.Device``: memory, copies and kernels on one stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.gpu.cuda import Cuda, DeviceMemory, PinnedMemory
from lidarloop_core.gpu.kernels import Kernels, source
from lidarloop_core.gpu.launcher import Memory

_ALIGNMENT = 256


class GpuDevice:
    """Runs the kernels on the stream of a ``Cuda``.

    Uploads go through a pinned ring, so that the array may change at once and the copy still overlaps. It grows to
    twice the largest upload, and so does what downloads go through.

    Args:
        cuda: the device and its stream.
        upload_bytes: initial size of the ring.
    """

    def __init__(self, cuda: Cuda, upload_bytes: int = 8 << 20) -> None:
        self._cuda = cuda
        self._kernels = Kernels(cuda, source(), "kernels.cu")
        self._ring: PinnedMemory = cuda.allocate_pinned(upload_bytes)
        self._back: PinnedMemory = cuda.allocate_pinned(4096)
        self._used = 0

    def allocate(self, num_bytes: int) -> DeviceMemory:
        """See ``Device.allocate``."""
        return self._cuda.allocate(num_bytes)

    def upload(self, memory: Memory, array: npt.NDArray[Any], offset: int = 0) -> None:
        """See ``Device.upload``; array (N, …)."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if self._used + len(data) > len(self._ring.bytes):
            self._cuda.synchronize()  # everything in the ring has been copied
            self._used = 0
            if len(data) > len(self._ring.bytes):
                self._ring = self._cuda.allocate_pinned(2 * len(data))
        self._ring.bytes[self._used : self._used + len(data)] = data
        self._cuda.copy_to_device(memory.address + offset, self._ring.address + self._used, len(data))
        self._used += -(-len(data) // _ALIGNMENT) * _ALIGNMENT

    def download(self, memory: Memory, num_bytes: int) -> bytes:
        """See ``Device.download``."""
        if num_bytes > len(self._back.bytes):
            self._back = self._cuda.allocate_pinned(2 * num_bytes)
        self._cuda.copy_to_host(self._back.address, memory.address, num_bytes)
        self._cuda.synchronize()
        self._used = 0
        return self._back.bytes[:num_bytes].tobytes()

    def launch(self, name: str, num_items: int, arguments: Sequence[Any], kinds: Sequence[type]) -> None:
        """See ``Kernels.launch``."""
        self._kernels.launch(name, num_items, arguments, kinds)
