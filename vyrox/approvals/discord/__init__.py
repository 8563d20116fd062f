"""Discord: where a proposal is shown, and how a click on it becomes a decision (contract 67)."""
