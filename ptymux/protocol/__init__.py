"""The protocol between client and server, without any I/O; `PROTOCOL.md` describes it.

`session` is the whole of one connection as either side sees it, up to an upgrade: `messages`
(JSON-RPC) in `lines`. Behind an upgrade there are the frames of `framing`.

No module here imports what makes a command slow to start: `typing`, `dataclasses`, `logging`.
"""
