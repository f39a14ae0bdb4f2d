"""Synthetic heads, chests, knees, hearts, rock and textures, drawn by programs, and the sets made of them."""
