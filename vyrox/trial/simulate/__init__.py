"""Send made-up but realistic vendor detections to a running ingestion service."""
