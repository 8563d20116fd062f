"""The user's own Sigma rules, an optional part (`pip install 'vyrox[sigma]'`)."""
