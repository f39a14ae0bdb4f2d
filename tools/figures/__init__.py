"""Draws the figures of the documentation anew, from what is committed: weights, histories, synthetic data."""
