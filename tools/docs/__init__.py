"""Numbers and pictures of the documents: measured once, kept in `docs/results.csv`, printed from there."""
