"""What is opened once: the stores, the parts of the service, and what the routes use of them."""
