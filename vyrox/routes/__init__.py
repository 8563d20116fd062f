"""The endpoints, one file for each group; a route is a list of numbered steps."""
