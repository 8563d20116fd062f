"""A language model's note on an incident, an optional part: people read it, nothing else does."""
