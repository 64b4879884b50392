"""The asyncio heart: PTYs as objects that can be spawned, read, written, signalled and ended."""

import logging

from ptymux.manager.manager import PtyManager
from ptymux.manager.reader import OutputReader
from ptymux.manager.stream import EventStream

__all__ = ["EventStream", "OutputReader", "PtyManager"]

# A host program decides what it shows of our log; by default nothing.
logging.getLogger("ptymux").addHandler(logging.NullHandler())
