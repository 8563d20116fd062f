"""HTTP requests to the vendors: sending, retries, tokens, and what a failure means."""
