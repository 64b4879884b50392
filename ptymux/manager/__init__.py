"""The asyncio heart: PTYs as objects that can be spawned, read, written, signalled and ended."""

import logging

from ptymux.manager.event_stream import EventStream
from ptymux.manager.manager import PtyManager
from ptymux.manager.output_reader import OutputReader

__all__ = ["EventStream", "OutputReader", "PtyManager"]

# A host program decides what it shows of our log; by default nothing.
logging.getLogger("ptymux").addHandler(logging.NullHandler())
