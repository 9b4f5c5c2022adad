"""A seeded simulator of paid requests: real gateway code, virtual time, faults at every await."""
