"""Both an ament_python package (colcon) and a pip package. All metadata is here: see CONTRIBUTING.md."""

from setuptools import find_packages, setup

setup(
    name="lidarloop_ros",
    version="0.1.0",
    description="ROS 2 nodes of lidarloop: thin shells round lidarloop_core",
    author="The lidarloop founders",
    maintainer="The lidarloop founders",
    maintainer_email="maintainers@lidarloop.dev",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["lidarloop_ros*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lidarloop_ros"]),
        ("share/lidarloop_ros", ["package.xml"]),
    ],
    package_data={"lidarloop_ros": ["py.typed", "config/*.xml"]},
    install_requires=["lidarloop_core", "pyyaml>=6", "rich>=13"],
    zip_safe=False,  # Fast DDS reads its profile as a file
    entry_points={
        "console_scripts": [
            "lidar_detector = lidarloop_ros.detector.node:main",
            "self_labeller = lidarloop_ros.self_labeller.node:main",
        ],
        "lidarloop.commands": ["replay = lidarloop_ros.replay.command:replay"],
    },
)
