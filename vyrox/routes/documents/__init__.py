"""The documents of the API: for programs and for people (contract 100)."""
