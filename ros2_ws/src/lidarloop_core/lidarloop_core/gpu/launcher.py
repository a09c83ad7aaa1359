"""Kernels on a device, one after another, and the prefix sum that they share."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt

CHUNK = 64
"""``CHUNK`` of common.cu: values that one thread sums up."""

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


class Address(int):
    """An address on the device; kernels take it as a pointer, where a plain int is a number."""


class Memory(Protocol):
    """Bytes on the device, freed with the object.

    Attributes:
        address: address of the first byte on the device.
    """

    address: int


class Device(Protocol):
    """What runs the kernels: a GPU (``GpuDevice``), or in tests the CPU. All in order, as on a stream."""

    def allocate(self, num_bytes: int) -> Memory:
        """Memory on the device; raises CudaOutOfMemoryError where there is too little."""
        ...

    def upload(self, memory: Memory, array: npt.NDArray[Any], offset: int = 0) -> None:
        """Copies an array (N, …) to the device, ``offset`` bytes into the memory; the array may change at once."""
        ...

    def download(self, memory: Memory, num_bytes: int) -> bytes:
        """Waits for the work so far, and copies to the host."""
        ...

    def launch(self, name: str, num_items: int, arguments: Sequence[Any], kinds: Sequence[type]) -> None:
        """Runs a kernel once per item; see ``Kernels.launch``."""
        ...


class Launcher:
    """Launches kernels that take pointers and ints.

    Args:
        device: runs the kernels.
        most_values: number of values in the longest prefix sum.

    Raises:
        CudaOutOfMemoryError: the device has too little memory.
    """

    def __init__(self, device: Device, most_values: int) -> None:
        self._device = device
        self._sums: list[Memory] = []
        number = most_values
        while not self._sums or number > 1:
            number = num_chunks(number)
            self._sums.append(device.allocate(4 * number))

    def run(self, name: str, num_items: int, *arguments: Memory | Address | int) -> None:
        """Runs a kernel once per item; not at all for none."""
        if num_items == 0:
            return
        values = [a if isinstance(a, int) else a.address for a in arguments]
        kinds = [_INT if type(a) is int else _POINTER for a in arguments]
        self._device.launch(name, num_items, values, kinds)

    def prefix_sum(self, values: Memory, out: Memory, number: int, total: Address) -> None:
        """Exclusive prefix sum of int32 values.

        Args:
            values: (number,) int32.
            out: (number,) int32, the sum of all values before each; it may be ``values``.
            number: at most ``most_values``.
            total: takes the sum of all, int32.
        """
        self._prefix_sum(values, out, number, total, level=0)

    def _prefix_sum(self, values: Memory, out: Memory, number: int, total: Address, level: int) -> None:
        sums, chunks = self._sums[level], num_chunks(number)
        self.run("sum_chunks", chunks, values, sums, number)
        if chunks > CHUNK:
            self._prefix_sum(sums, sums, chunks, total, level + 1)
        else:
            self.run("scan_one", 1, sums, chunks, total)
        self.run("scan_chunks", chunks, values, sums, out, number)


def num_chunks(number: int) -> int:
    """Chunks of that many values."""
    return -(-number // CHUNK)
