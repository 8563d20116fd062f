"""The signals as data: one file for each family, read by `triage.catalogue`."""
