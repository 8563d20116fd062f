"""The HTTP routes, one file per listener."""
