"""ptymux: a terminal multiplexer that accounts for every byte."""

__version__ = "0.1.0"
