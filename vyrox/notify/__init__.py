"""Messages to people and pipelines about incidents: signed webhooks, sent at least once."""
