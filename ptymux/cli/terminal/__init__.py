"""Connects this terminal, or a pipe, with a PTY: for `run` and `attach`."""
