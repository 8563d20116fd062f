"""Send made-up but realistic vendor detections to the public listener of a running service."""
