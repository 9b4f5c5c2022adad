"""The ways to pay. A new one is one file here that implements :class:`gateway.rails.base.Rail`."""
