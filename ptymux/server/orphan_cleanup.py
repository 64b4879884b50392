"""What a server does at its start about processes that a dead keeper left behind.

Only what is proven is touched (`posix/orphans.py`), by the same plan that ends a PTY.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final

from ptymux.core.escalation import Escalation, Send
from ptymux.errors import PtymuxError
from ptymux.handover.snapshot import Greeting
from ptymux.handover.state_file import ChildProof
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.orphans import Orphan, find
from ptymux.posix.process import ProcessId, send, session_scan
from ptymux.posix.procfs import read_stat

__all__ = ["reconcile"]

_log = logging.getLogger("ptymux")

_GRACE_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.1


async def reconcile(
    manager: ServerManager, link: ServerLink, greeting: Greeting, reattached: int
) -> None:
    """End what is proven to be left over, then tell how much there was."""
    numbers: set[int] = set()
    if greeting.left:
        try:
            numbers = {orphan.number or 0 for orphan in _living(greeting.left)}
            await _end(greeting.left)
        except PtymuxError as error:
            _log.error("what an earlier keeper left behind cannot be ended: %s", error)
            return
        left = {orphan.number for orphan in _living(greeting.left)}
        link.settled()
        if numbers:
            told = "an earlier keeper was killed: of %d PTYs that it left, %d were ended"
            _log.warning(told, len(numbers), len(numbers - left))
        numbers -= left
    if numbers or reattached:
        manager.publish_reconciled(len(numbers) + reattached, reattached, len(numbers))


def _living(proofs: Sequence[ChildProof]) -> list[Orphan]:
    """Return the proven processes that have not ended."""
    found = []
    for orphan in find(proofs).proven:
        stat = read_stat(orphan.pid)
        if stat is not None and not stat.is_zombie:
            found.append(orphan)
    return found


async def _end(proofs: Sequence[ChildProof]) -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), _GRACE_SECONDS)
    sids = {proof.pid for proof in proofs}
    while not plan.is_over:
        alive = {ProcessId(orphan.pid, orphan.start_time) for orphan in _living(proofs)}
        members = [member for group in session_scan(sids).values() for member in group]
        ignoring = {ProcessId(m.pid, m.start_time) for m in members if m.ignores_term}
        for action in plan.step(time.monotonic(), alive, ignoring & alive):
            if isinstance(action, Send):
                with contextlib.suppress(PtymuxError):  # gone meanwhile, or somebody else's
                    send(action.process, action.signal)
        await asyncio.sleep(_STEP_SECONDS if alive else 0)
