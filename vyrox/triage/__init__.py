"""From an alert to a verdict and an incident: deterministic, explained, and never acting."""
