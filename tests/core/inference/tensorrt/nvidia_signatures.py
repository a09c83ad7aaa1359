"""Prints, as JSON, every class of NVIDIA's bindings with its members' signatures: run in a process of its own.

    python nvidia_signatures.py tensorrt FOLDER | python nvidia_signatures.py tensorrt_rtx

The wheel ``tensorrt_cu13_bindings`` holds TensorRT 11's real Python interface, but its libraries are not on the index.
The extension needs a handful of symbols of theirs to be loaded and none to be looked at, so FOLDER gets libraries that
have just these. It must be on LD_LIBRARY_PATH before the process starts.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any

LIBRARIES = ("libnvonnxparser.so", "libnvinfer_plugin.so", "libnvinfer.so")
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip


def bindings() -> Path | None:
    """The extension module of TensorRT's bindings, if the wheel is installed."""
    spec = importlib.util.find_spec("tensorrt_bindings")  # does not import it: that would want the libraries
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "tensorrt.so"


def make_libraries(folder: Path, major: int) -> bool:
    """Empty libraries by the names that the extension looks for; False where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("g++")
    if compiler is None:
        return False
    source = folder / "empty.c"
    source.write_text("\n".join(f"void *{symbol}(void) {{ return 0; }}" for symbol in SYMBOLS))
    for library in LIBRARIES:
        name = f"{library}.{major}"
        command = [compiler, "-shared", "-fPIC", "-o", str(folder / name), str(source), f"-Wl,-soname,{name}"]
        subprocess.run(command, check=True)
    return True


def members(module: Any) -> dict[str, dict[str, str]]:
    """Class → member → its docstring, whose first lines are its signatures."""
    return {
        name: {member: getattr(kind, member).__doc__ or "" for member in dir(kind)}
        for name, kind in vars(module).items()
        if isinstance(kind, type)
    }


def main(name: str) -> None:
    if name == "tensorrt":
        path = bindings()
        assert path is not None
        loader = ExtensionFileLoader("tensorrt", str(path))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tensorrt", loader))
        loader.exec_module(module)
    else:
        module = importlib.import_module(name)
    json.dump(members(module), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
