"""`python -m tools tasks`: a list of runs of bundles, one after another, and the table that ranks them."""
