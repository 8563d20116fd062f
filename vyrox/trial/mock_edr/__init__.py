"""A mock of the vendors' clouds, for tests and for trying Vyrox without a vendor.

It is as strict as the vendors' documents. `app.MockEdr` is the mock, in process; `serve` serves it
on a socket. The product's clients and this package share no code, so an error on one side shows.
"""
