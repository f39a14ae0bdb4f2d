"""Code shared by two or more bundles of the reconstruction and super-resolution zoo.

Imports run one way: bundle -> common -> libraries.
"""

__version__ = "0.1.0"
