"""The vendors' own forms of an alert: one module for each, with the tables of where fields are."""
