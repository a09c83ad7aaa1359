"""Complete this environment's ROS 2: the last step of `make setup`.

Where a ROS 2 is sourced (apt's, on a vehicle) every package is there, and this script only checks that. On ROS 2 from
pip's wheels some packages that `lidarloop_ros` depends on are missing, for they are on no package index:

* the interface packages `vision_msgs` and `tf2_msgs` are generated from `ros2_ws/src/pip_ros/<package>` by the wheels'
  own rosidl and installed into the virtual environment, as `colcon build` would do;
* the Python modules `tf2_ros`, `message_filters` and `sensor_msgs_py` are stood in for by the modules in
  `ros2_ws/src/pip_ros/standins`, which goes to the END of the module path, so that a real module always wins.

Run as `.venv/bin/python tools/setup_ros.py`. Packages that the nodes do not need are generated only if they are
named, for the tests: `tools/setup_ros.py autoware_perception_msgs`. Running it again is cheap: a package is
generated anew only when its field lists, Python, NumPy or the generator have changed. Uses the standard library alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

SOURCE_FOLDER = Path(__file__).resolve().parent.parent / "ros2_ws" / "src"
PIP_ROS_FOLDER = SOURCE_FOLDER / "pip_ros"
STANDINS_FOLDER = PIP_ROS_FOLDER / "standins"
INTERFACE_PACKAGES = ("tf2_msgs", "vision_msgs")

# Path files are read in alphabetical order: the name puts ours last.
STANDINS_PATH_FILE = "zz_lidarloop_ros_standins.pth"


class SetupError(Exception):
    """The environment cannot be completed; the message names the remedy."""


def main(further: Sequence[str] = ()) -> int:
    """Make or check the environment.

    Args:
        further: interface packages of pip_ros to generate as well, which the nodes do not need.

    Returns:
        0 when every package that the nodes depend on, and those asked for, can be imported, else 1. A sourced ROS 2 may
        lack those asked for.
    """
    prefix = Path(sys.prefix)
    try:
        require_field_lists(further)
        if is_outside(prefix, "rclpy"):
            check_sourced_ros(further)
            return 0
        check_wheels(prefix)
        for package in dict.fromkeys([*INTERFACE_PACKAGES, *further]):
            if is_real(prefix, package):
                say(f"{package}: the real one is at {location_of(package)}")
            else:
                ensure_interface_package(prefix, PIP_ROS_FOLDER / package)
        put_standins_on_path()
        missing = packages_that_do_not_import(further)
        if missing:
            raise SetupError(
                f"installed, yet these cannot be imported: {', '.join(missing)}. Expected all packages that "
                "lidarloop_ros depends on. Remedy: remove the virtual environment and run `make setup` again."
            )
    except SetupError as error:
        print(f"setup_ros: {error}", file=sys.stderr)
        return 1
    say("complete")
    return 0


def require_field_lists(packages: Sequence[str]) -> None:
    """Refuse packages without field lists in pip_ros. Raises SetupError."""
    known = sorted(path.parent.name for path in PIP_ROS_FOLDER.glob("*/package.xml"))
    unknown = [package for package in packages if package not in known]
    if unknown:
        raise SetupError(f"received {', '.join(unknown)}; expected packages of {PIP_ROS_FOLDER}: {', '.join(known)}")


def check_sourced_ros(further: Sequence[str] = ()) -> None:
    """Print which sourced ROS 2 is used.

    Args:
        further: packages that it may lack.

    Raises:
        SetupError: it lacks a package that the nodes need, or belongs to another Python.
    """
    distro = os.environ.get("ROS_DISTRO", "jazzy")
    missing = packages_that_do_not_import()
    if "rclpy" in missing:
        raise SetupError(
            f"{sys.executable} cannot import the sourced ROS 2's rclpy at {location_of('rclpy')}; expected the Python "
            f"that {distro} was built for. Remedy: remove the virtual environment and run "
            "`make setup PYTHON=/usr/bin/python3`; or do not source a ROS 2, to use the wheels."
        )
    if missing:
        raise SetupError(
            f"the sourced ROS 2 ({distro}, rclpy at {location_of('rclpy')}) lacks {', '.join(missing)}. "
            f"Remedy: sudo apt install {apt_names(distro, missing)}"
        )
    for package in further:
        if location_of(package) is None:
            say(f"{package}: not installed, tests of it are skipped (sudo apt install {apt_names(distro, [package])})")
    say(f"using the sourced {distro} (rclpy at {location_of('rclpy')}); nothing to generate")


def apt_names(distro: str, packages: Sequence[str]) -> str:
    """apt's names of these ROS packages."""
    return " ".join(f"ros-{distro}-{package.replace('_', '-')}" for package in packages)


def check_wheels(prefix: Path) -> None:
    """Refuse a system Python, or an environment without rclpy's wheel. Raises SetupError."""
    if sys.prefix == sys.base_prefix:
        raise SetupError(
            f"{sys.executable} is not a virtual environment, and nothing is installed into a system's Python. "
            "Remedy: `make setup`, or source a ROS 2 (source /opt/ros/jazzy/setup.bash)."
        )
    if location_of("rclpy") is None:
        raise SetupError(
            f"rclpy is not in {prefix} and no ROS 2 is sourced. Remedy: pip install -c constraints.txt "
            "-c constraints-jazzy.txt '.[ros,ros-build]', or source a ROS 2 (source /opt/ros/jazzy/setup.bash)."
        )


def ensure_interface_package(prefix: Path, source: Path) -> None:
    """Generate and install one interface package, unless this very one is there.

    Args:
        prefix: the virtual environment.
        source: the package's folder: package.xml, CMakeLists.txt, msg/, srv/, action/.
    """
    package = source.name
    stamp_file = stamp_file_of(prefix, package)
    stamp = package_stamp(source)
    if stamp_file.is_file() and stamp_file.read_text() == stamp:
        say(f"{package}: up to date")
        return
    num_lists = sum(1 for path in source.rglob("*") if path.suffix in {".msg", ".srv", ".action"})
    say(f"{package}: generating {num_lists} types (a quarter of a minute or so) ...")
    start_s = time.monotonic()
    cmake, ninja = build_tools(prefix)
    point_to_this_python(prefix)
    # An empty stamp marks the package as ours and unfinished: the next run generates it again.
    stamp_file.parent.mkdir(parents=True, exist_ok=True)
    stamp_file.write_text("")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "AMENT_PREFIX_PATH": str(prefix),
        "CMAKE_PREFIX_PATH": str(prefix),
    }
    with tempfile.TemporaryDirectory(prefix=f"lidarloop-{package}-") as build_folder:
        configure = [cmake, "-S", str(source), "-B", build_folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        configure += [f"-DCMAKE_INSTALL_PREFIX={prefix}", f"-DPython3_EXECUTABLE={sys.executable}"]
        run_logged(package, configure, environment)
        run_logged(package, [cmake, "--build", build_folder, "--target", "install"], environment)
    stamp_file.write_text(stamp)
    say(f"{package}: installed in {time.monotonic() - start_s:.0f} s")


def stamp_file_of(prefix: Path, package: str) -> Path:
    """The file that marks an installed package as ours."""
    return prefix / "share" / package / "lidarloop_generated.sha256"


def package_stamp(source: Path) -> str:
    """Hash of everything that the generated code depends on: the sources, the generator, Python and NumPy."""
    digest = hashlib.sha256()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(source).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    versions = [sys.version, *(importlib.metadata.version(name) for name in ("numpy", "ros-rosidl-generator-py"))]
    digest.update("\0".join(versions).encode())
    return digest.hexdigest()


def build_tools(prefix: Path) -> tuple[str, str]:
    """Paths of CMake and Ninja, the environment's own first.

    Raises:
        SetupError: one of them, a C++ compiler, the generator or Python's headers are missing.
    """
    path = os.pathsep.join([str(prefix / "bin"), os.environ.get("PATH", os.defpath)])
    found = {tool: shutil.which(tool, path=path) for tool in ("cmake", "ninja")}
    for tool, executable in found.items():
        if executable is None:
            raise SetupError(f"{tool} is needed to generate interfaces and is not found. Remedy: pip install {tool}")
    for variable, usual in (("CC", "cc"), ("CXX", "c++")):
        compiler = os.environ.get(variable, usual)
        if shutil.which(compiler.split()[0]) is None:
            raise SetupError(
                f"a C++ compiler is needed to generate interfaces; `{compiler}` is not found. "
                f"Remedy: sudo apt install g++, or set {variable}."
            )
    if importlib.util.find_spec("ament_package") is None or importlib.util.find_spec("catkin_pkg") is None:
        raise SetupError(
            "the wheels that generate interfaces are not installed (ament_package, catkin_pkg). "
            "Remedy: pip install -c constraints.txt -c constraints-jazzy.txt '.[ros-build]'"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise SetupError(
            f"Python's headers are needed to generate interfaces; {header} is not there. "
            "Remedy: sudo apt install python3-dev"
        )
    return str(found["cmake"]), str(found["ninja"])


def point_to_this_python(prefix: Path) -> None:
    """Correct the include folders of Python and NumPy in the wheels' CMake files, which are those of the build machine.

    The files are replaced, not written into: an installer such as uv hard-links them to its cache.
    """
    numpy_include = subprocess.run(
        [sys.executable, "-c", "import numpy; print(numpy.get_include())"], check=True, capture_output=True, text=True
    ).stdout.strip()
    includes = f"{sysconfig.get_path('include')};{numpy_include}"
    for path in prefix.glob("share/*/cmake/export_*__rosidl_generator_pyExport.cmake"):
        text = path.read_text()
        corrected = re.sub(
            r'(INTERFACE_INCLUDE_DIRECTORIES) "[^"]*"', lambda match: f'{match.group(1)} "{includes}"', text
        )
        if corrected != text:
            new_path = path.with_suffix(".new")
            new_path.write_text(corrected)
            new_path.replace(path)


def run_logged(package: str, command: Sequence[str], environment: dict[str, str]) -> None:
    """Run a build step without output; when it fails, keep its log and raise SetupError with the end of it."""
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode == 0:
        return
    log = Path(tempfile.gettempdir()) / f"lidarloop-{package}.log"
    log.write_text(result.stdout)
    last_lines = "\n".join(result.stdout.splitlines()[-25:])
    raise SetupError(
        f"{package}: `{' '.join(command)}` ended with exit status {result.returncode}; its output is in {log}, "
        f"the end of it:\n{last_lines}"
    )


def put_standins_on_path() -> None:
    """Add the stand-ins' folder to the end of the module path of every Python of this environment."""
    path_file = Path(sysconfig.get_path("purelib")) / STANDINS_PATH_FILE
    line = f"{STANDINS_FOLDER}\n"
    if not path_file.is_file() or path_file.read_text() != line:
        path_file.write_text(line)
    for module in sorted(path.stem for path in STANDINS_FOLDER.iterdir() if not path.name.startswith(("_", "."))):
        real = location_of(module)
        if real is None or STANDINS_FOLDER in real.parents:
            say(f"{module}: not on any package index; the stand-in in {STANDINS_FOLDER.name}/ is used")
        else:
            say(f"{module}: the real one is at {real}")


def packages_that_do_not_import(further: Sequence[str] = ()) -> list[str]:
    """Which ROS packages a fresh Python cannot import, of those in lidarloop_ros's package.xml and of ``further``.

    `launch` and `launch_ros` do not count: only `ros2 launch` needs them, not the nodes and tests.
    """
    manifest = ElementTree.parse(SOURCE_FOLDER / "lidarloop_ros" / "package.xml")
    names = [element.text or "" for element in manifest.iter("exec_depend")]
    packages = [*(name for name in names if not name.startswith(("lidarloop_", "python3-", "launch"))), *further]
    # `<name>_py` is the Python side of `<name>`.
    modules = [name + ".msg" if name.endswith("_msgs") else name.removesuffix("_py") for name in packages]
    # A fresh process, because path files are read at start-up; one for all, because each would take a second.
    code = (
        "import importlib, sys\n"
        "for number, module in enumerate(sys.argv[1:]):\n"
        "    try:\n"
        "        importlib.import_module(module)\n"
        "    except ImportError:\n"
        "        print(number)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *modules], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        raise SetupError("Python itself fails when the ROS packages are imported; see its output above.")
    return [packages[int(number)] for number in result.stdout.split()]


def is_outside(prefix: Path, module: str) -> bool:
    """Whether the module is found, and neither in this environment nor among the stand-ins."""
    location = location_of(module)
    return location is not None and prefix not in location.parents and STANDINS_FOLDER not in location.parents


def is_real(prefix: Path, package: str) -> bool:
    """Whether this interface package was installed by other means, outside of this environment or into it."""
    return is_outside(prefix, package) or (
        location_of(package) is not None and not stamp_file_of(prefix, package).is_file()
    )


def location_of(module: str) -> Path | None:
    """Where a top-level module would be imported from, or None; a folder without code in it does not count."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def say(line: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(f"ROS 2: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
