"""`python -m tools train`: a recipe of steps that make the weights which a bundle ships, and what must travel of it."""
