"""The asyncio heart: PTYs as objects that can be spawned, read, written, signalled and ended."""

from ptymux.manager.manager import PtyManager
from ptymux.manager.reader import OutputReader
from ptymux.manager.stream import EventStream

__all__ = ["EventStream", "OutputReader", "PtyManager"]
