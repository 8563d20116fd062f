"""Backups of the data directory: what they hold, how they are made and how restored."""
