"""Pages for people who decide, on a listener of their own (contract 66)."""
