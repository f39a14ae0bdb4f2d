"""Commands that build, check, share and export bundles: `python -m tools zoo`."""
