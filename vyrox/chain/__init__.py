"""The audit chain: what an entry is, how it is written, read and verified (contract 30 to 33)."""
