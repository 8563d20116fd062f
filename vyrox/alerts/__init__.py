"""An accepted alert: its row, its queue entry, its quarantine if unreadable, its deletion."""
