"""Runs the CUDA source on the CPU: the very same text, compiled as C++, one thread after another in any order."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HEADER = """
#define HOST_TEST
#define __global__
#define __device__
static int item;
#define ITEM item
template <class T> static T min(T a, T b) { return a < b ? a : b; }
template <class T> static T max(T a, T b) { return a < b ? b : a; }
static int __popcll(unsigned long long word) { return __builtin_popcountll(word); }
static int __ffsll(unsigned long long word) { return __builtin_ffsll(word); }
static void atomicOr(unsigned long long *at, unsigned long long bits) { *at |= bits; }
static int atomicAdd(int *at, int value) { int old = *at; *at = old + value; return old; }
static int atomicMin(int *at, int value) { int old = *at; if (value < old) *at = value; return old; }
"""


def compile_for_cpu(source: str, folder: Path) -> ctypes.CDLL:
    """A library with ``all_NAME(arguments…, num_items, order)`` for each kernel."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels cannot be tried without a GPU")
    wrappers = []
    for name, parameters in re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', source):
        names = ", ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters))
        last = names.rsplit(", ", 1)[-1]
        loop = f"for (int k = 0; k < {last}; ++k) {{ item = order[k]; {name}({names}); }}"
        # Threads beyond the last item exist on a GPU; they must do nothing.
        wrappers.append(
            f'extern "C" void all_{name}({parameters}, const int *order) {{ {loop} item = {last}; {name}({names}); }}'
        )
    text = folder / "kernels.cpp"
    text.write_text(HEADER + source + "\n".join(wrappers))
    library = folder / "kernels.so"
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Werror", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(text)], check=True)
    return ctypes.CDLL(str(library))


Order = Callable[[int], np.ndarray]


def backwards(number: int) -> np.ndarray:
    return np.arange(number)[::-1]


def shuffled(number: int) -> np.ndarray:
    return np.random.default_rng(number).permutation(number)


class CpuMemory:
    def __init__(self, num_bytes: int) -> None:
        self.bytes = np.full(num_bytes + 64, 0xA5, np.uint8)  # never zeros by luck
        self.address = self.bytes.ctypes.data

    def read(self, dtype: Any, count: int) -> np.ndarray:
        return self.bytes[: np.dtype(dtype).itemsize * count].view(dtype).copy()


class CpuDevice:
    """``launcher.Device`` on the CPU; ``order`` is the order in which a launch's threads run."""

    def __init__(self, library: ctypes.CDLL, order: Order = np.arange) -> None:
        self._library = library
        self._order = order
        self.launches: list[str] = []
        self.uploaded_bytes = 0
        self.downloaded_bytes = 0

    def allocate(self, num_bytes: int) -> CpuMemory:
        return CpuMemory(num_bytes)

    def upload(self, memory: CpuMemory, array: np.ndarray, offset: int = 0) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        memory.bytes[offset : offset + len(data)] = data
        self.uploaded_bytes += len(data)

    def download(self, memory: CpuMemory, num_bytes: int) -> bytes:
        self.downloaded_bytes += num_bytes
        return memory.bytes[:num_bytes].tobytes()

    def launch(self, name: str, num_items: int, arguments: Sequence[Any], kinds: Sequence[type]) -> None:
        assert len(arguments) == len(kinds)
        self.launches.append(name)
        order = np.ascontiguousarray(self._order(num_items), np.int32)
        function = getattr(self._library, f"all_{name}")
        converted = [kind(value) for kind, value in zip(kinds, arguments, strict=True)]
        function(*converted, ctypes.c_int(num_items), ctypes.c_void_p(order.ctypes.data))
