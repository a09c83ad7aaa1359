"""Compiles CUDA source for the GPU at hand and launches its kernels, by NVRTC and the driver of cuda-python."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from importlib import resources
from typing import Any

from lidarloop_core.errors import BackendError
from lidarloop_core.gpu.cuda import Cuda

_THREADS = 256

_FILES = ("common.cu", "sweeps.cu", "pillars.cu", "voxels.cu")

Argument = int | float
"""An argument of a kernel: an address, an int (32 bits) or a float (32 bits); see ``Kernels.launch``."""


def source() -> str:
    """The text of all kernels; the compiler's messages name file and line."""
    folder = resources.files("lidarloop_core.gpu")
    return "".join(f'#line 1 "{name}"\n{folder.joinpath(name).read_text(encoding="utf-8")}\n' for name in _FILES)


def compile_source(source: str, architecture: str, name: str = "kernels.cu") -> bytes:
    """Machine code (cubin) of CUDA C++ for one kind of GPU; needs no GPU itself.

    Args:
        source: text of the source.
        architecture: kind of GPU, e.g. ``"sm_87"``.
        name: file name in the compiler's messages.

    Raises:
        BackendError: NVRTC is missing, does not know the architecture, or refuses the source.
    """
    try:
        from cuda.bindings import nvrtc

        status, program = nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), 0, [], [])
    except (ImportError, RuntimeError) as error:
        raise BackendError(
            f"NVRTC cannot be loaded ({error}); it comes with the CUDA toolkit and with JetPack, or install it: "
            "pip install cuda-bindings nvidia-cuda-nvrtc (nvidia-cuda-nvrtc-cu12 for CUDA 12)"
        ) from None
    # No fused multiply-add: sums are rounded as numpy rounds them.
    options = [f"--gpu-architecture={architecture}".encode(), b"--fmad=false", b"--std=c++17"]
    if int(status) == 0:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(status) != 0:
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        _, version_major, version_minor = nvrtc.nvrtcVersion()
        reason = (
            " ".join(log.decode(errors="replace").replace("\0", " ").split())
            or nvrtc.nvrtcGetErrorString(status)[1].decode()
        )
        raise BackendError(f"NVRTC {version_major}.{version_minor} refuses {name} for {architecture}: {reason}")
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    code = bytes(int(size))  # filled in place, as NVIDIA's bindings do
    nvrtc.nvrtcGetCUBIN(program, code)
    nvrtc.nvrtcDestroyProgram(program)
    return code


class Kernels:
    """The kernels of one source, on the stream of a ``Cuda``.

    Args:
        cuda: the device and its stream.
        source: text of the source.
        name: file name in the compiler's messages.

    Raises:
        BackendError: as ``compile_source``, or the driver refuses the code.
    """

    def __init__(self, cuda: Cuda, source: str, name: str) -> None:
        from cuda.bindings import driver

        self.cuda = cuda
        self._driver = driver
        architecture = cuda.gpu.rsplit(" ", 1)[1]
        self._code = compile_source(source, architecture, name)
        self._module = self._checked(driver.cuModuleLoadData(self._code))
        weakref.finalize(self, driver.cuModuleUnload, self._module)
        self._functions: dict[str, Any] = {}

    def launch(self, name: str, num_items: int, arguments: Sequence[Argument], kinds: Sequence[type]) -> None:
        """Runs a kernel once per item.

        Args:
            name: the kernel's name.
            num_items: number of threads; it is passed as the last argument.
            arguments: the arguments before it.
            kinds: ``ctypes`` type of each.

        Raises:
            BackendError: the driver failed.
        """
        if num_items == 0:
            return
        if name not in self._functions:
            self._functions[name] = self._checked(self._driver.cuModuleGetFunction(self._module, name.encode()))
        values = (*arguments, num_items), (*kinds, ctypes.c_int)
        blocks = -(-num_items // _THREADS)
        stream = int(self.cuda.stream)
        launched = self._driver.cuLaunchKernel(
            self._functions[name], blocks, 1, 1, _THREADS, 1, 1, 0, stream, values, 0
        )
        self._checked(launched)

    def _checked(self, result: tuple[Any, ...]) -> Any:
        status, *values = result
        if int(status) != 0:
            _, reason = self._driver.cuGetErrorString(status)
            raise BackendError(f"CUDA's driver failed: {reason.decode()} (error {int(status)}); see `lidarloop doctor`")
        return values[0] if values else None
