"""`python -m tools run`: trainings, predictions and evaluations of a list, one after another, on record."""
