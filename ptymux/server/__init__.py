"""The server process: a PtyManager over the link to the keeper, offered to clients on a socket."""
