"""Everything that is stored: SQL, Redis, and the files of the data directory."""
