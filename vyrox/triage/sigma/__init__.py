"""The user's own Sigma rules, an optional part (the extra `sigma`)."""
