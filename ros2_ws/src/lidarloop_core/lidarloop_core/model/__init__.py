"""What a model is: its contract (``spec``, with ``inputs``, ``outputs`` and ``tensors``) and its file."""
