"""Load and faults: what is lost when everything is killed mid-load. `make chaos`.

Each part is a module with `run`, which returns the rows of one table. The oracle is four lists that
only grow: what was acknowledged, what is queued, what has changed at the vendor, and the audit
entries. None of them is kept by the service under test: the first is the sender's, the second is
read from the stores, the third is the mocked vendor's, the fourth is what the verifier accepted.
"""
