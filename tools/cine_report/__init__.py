"""The page that `python -m tools cine_report` writes: reading, scores, moving pictures, charts."""
