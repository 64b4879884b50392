"""Signals for the commands that wait for them beside files: `posix/signals.py` has them."""

from __future__ import annotations

from ptymux.posix.signals import SignalInbox, stop_ourselves

__all__ = ["SignalInbox", "stop_ourselves"]
