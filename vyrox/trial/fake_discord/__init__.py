"""A fake Discord: one application in one server, its REST API, and clicks that it signs."""
