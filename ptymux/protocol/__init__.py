"""What client and server say to each other, as pure code; `PROTOCOL.md` describes it.

No module here imports what makes a command slow to start: `typing`, `dataclasses`, `enum`; only
`spawning`, which a command that spawns imports late, is an exception.
"""
