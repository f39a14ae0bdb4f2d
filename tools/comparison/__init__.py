"""What `python -m tools compare` consists of: entries, their reconstructions of the same measurements, results."""
