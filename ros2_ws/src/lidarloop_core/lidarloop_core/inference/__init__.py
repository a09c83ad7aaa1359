"""Running a model: the backend Protocol, its implementations, and the detector built on it."""
