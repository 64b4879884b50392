"""What a new server does about processes that a keeper which was killed left behind.

Only processes that are proven to be ours are touched (`posix/orphans.py`). They are ended by the
same plan as a PTY.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ptymux.core.escalation import Escalation
from ptymux.engine.session_end import perform
from ptymux.errors import PtymuxError
from ptymux.handover.snapshot import Greeting
from ptymux.handover.state_file import ChildProof
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.orphans import Orphan, find
from ptymux.posix.process import ProcessId
from ptymux.posix.procfs import read_stat

__all__ = ["reconcile"]

_log = logging.getLogger("ptymux")


async def reconcile(
    manager: ServerManager, link: ServerLink, greeting: Greeting, reattached: int
) -> None:
    """End what is proven to be left behind, then publish how many PTYs were found and ended."""
    numbers: set[int] = set()
    if greeting.left:
        try:
            numbers = _numbers(greeting.left)
            await _end(greeting.left, manager.windows.grace)
        except PtymuxError as error:
            _log.error("what an earlier keeper left behind cannot be ended: %s", error)
            return
        left = _numbers(greeting.left)
        link.settled()
        if numbers:
            message = "an earlier keeper was killed: of %d PTYs that it left, %d were ended"
            _log.warning(message, len(numbers), len(numbers - left))
        numbers -= left
    if numbers or reattached:
        manager.publish_reconciled(len(numbers) + reattached, reattached, len(numbers))


async def _end(proofs: Sequence[ChildProof], grace_seconds: float) -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), grace_seconds)
    while (seconds := perform(plan, _living(proofs))) is not None:
        await asyncio.sleep(seconds)


def _numbers(proofs: Sequence[ChildProof]) -> set[int]:
    """Return the numbers of the PTYs of which a proven process is alive."""
    return {orphan.number for orphan in _living(proofs) if orphan.number is not None}


def _living(proofs: Sequence[ChildProof]) -> list[Orphan]:
    """Return the proven processes that have not ended since they were looked for."""
    found = []
    for orphan in find(proofs).proven:
        stat = read_stat(orphan.pid)
        if stat is not None and not stat.is_zombie:
            found.append(orphan)
    return found
