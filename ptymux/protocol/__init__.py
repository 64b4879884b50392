"""The protocol between client and server, without any I/O; `PROTOCOL.md` describes it.

No module here imports what makes a command slow to start: `typing`, `dataclasses`, `logging`.
"""
