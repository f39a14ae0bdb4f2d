"""Parts of `python -m tools compare`: entries, their reconstructions of the same measurements, results."""
