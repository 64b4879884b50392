"""The client's side of a connection: blocking sockets, no asyncio, quick to import."""
