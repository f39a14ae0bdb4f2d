"""Pages of runs: one self-contained HTML file with numbers, images to look at, charts, and how they were made."""
