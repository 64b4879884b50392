"""Clients of a server: connections, attachments and the library for programs that block.

Nothing here uses asyncio. Commands import it, so that importing it must be quick.
"""
