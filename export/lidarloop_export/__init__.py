"""From a trained checkpoint to the one file that runs on the vehicle."""
