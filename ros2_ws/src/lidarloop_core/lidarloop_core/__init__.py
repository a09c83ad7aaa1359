"""The onboard core of lidarloop: geometry, point clouds, the model contract and inference.

numpy only; onnxruntime and tensorrt are imported where a backend is opened. Neither torch nor rclpy is ever imported
here.
"""

__version__ = "0.1.0"
