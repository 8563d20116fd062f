"""Everything below a route that knows HTTP: limits, deadlines, bodies, errors as JSON."""
