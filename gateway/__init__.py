"""Tollway's gateway: what happens to a request."""

__version__ = "0.1.0"
