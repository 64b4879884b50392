"""`PtyManager`, the asyncio API: spawn PTYs, read, write, signal and end them, follow events."""

import logging

from ptymux.manager.event_stream import EventStream
from ptymux.manager.manager import PtyManager
from ptymux.manager.output_reader import OutputReader

__all__ = ["EventStream", "OutputReader", "PtyManager"]

# The program that uses us decides whether our log is shown; by default it is not.
logging.getLogger("ptymux").addHandler(logging.NullHandler())
