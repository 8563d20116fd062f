"""One file per vendor: what it sends, and how that becomes an alert."""
