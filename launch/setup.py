"""An ament_python package of files alone: no Python module."""

from pathlib import Path

from setuptools import setup

SHARE = "share/lidarloop_bringup"
FOLDERS = ("config", "foxglove", "rviz")


def files_of(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).iterdir())


setup(
    name="lidarloop_bringup",
    version="0.1.0",
    description="Launch files, parameters, Fast DDS profile and viewer layouts of lidarloop",
    author="The lidarloop founders",
    maintainer="The lidarloop founders",
    maintainer_email="maintainers@lidarloop.dev",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lidarloop_bringup"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", sorted(str(path) for path in Path().glob("*.launch.py"))),
        *((f"{SHARE}/{folder}", files_of(folder)) for folder in FOLDERS),
    ],
    install_requires=[],
    zip_safe=False,
)
