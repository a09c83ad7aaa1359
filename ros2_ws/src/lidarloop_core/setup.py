"""Both an ament_python package (colcon) and a pip package. All metadata is here: see CONTRIBUTING.md."""

from setuptools import find_packages, setup

setup(
    name="lidarloop_core",
    version="0.1.0",
    description="The onboard core of lidarloop: geometry, point clouds, the model contract and inference",
    author="The lidarloop founders",
    maintainer="The lidarloop founders",
    maintainer_email="maintainers@lidarloop.dev",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["lidarloop_core*"]),
    package_data={"lidarloop_core": ["py.typed", "gpu/*.cu"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lidarloop_core"]),
        ("share/lidarloop_core", ["package.xml"]),
    ],
    install_requires=[
        "numpy>=1.26",
        "scipy>=1.11",
        "pillow>=10",
        "numba>=0.60",
        "onnxruntime>=1.17",
        "rosbags>=0.11",
        "mcap>=1.2",
        "tyro>=0.9",
        "rich>=13",
    ],
    extras_require={
        # Ready-made COCO masks as a 2D model, and HDBSCAN to split masks.
        "labelling": ["pycocotools>=2.0.7", "scikit-learn>=1.3"],
        # Memory, streams and run-time compilation on an NVIDIA GPU; TensorRT itself comes with the vehicle.
        "cuda12": ["cuda-python>=12.6,<13", "nvidia-cuda-nvrtc-cu12"],
        "cuda13": ["cuda-python>=13,<14", "nvidia-cuda-nvrtc>=13,<14"],
    },
    zip_safe=True,
    entry_points={
        "console_scripts": ["lidarloop = lidarloop_core.cli:main"],
        "lidarloop.commands": [
            "build-engine = lidarloop_core.inference.tensorrt.command:build_engine",
            "bench = lidarloop_core.bench.command:bench",
            "bench model = lidarloop_core.bench.model:bench_model",
            "doctor = lidarloop_core.doctor:doctor",
        ],
    },
)
