"""The version of the package, where each module of it may read it."""

__version__ = "0.1.0"
