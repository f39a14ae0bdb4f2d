"""Commands for developers and users of the collection: `python -m tools`."""
