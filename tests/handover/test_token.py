"""The token of a handover: one takes it, whoever waits learns that it is decided."""

from __future__ import annotations

import os
import subprocess
import threading

from ptymux.handover.token import await_decision, create_token, end_process, take_token
from tests.timing import deadline_seconds


def test_only_one_can_take_it() -> None:
    taking, holding = create_token()
    other = os.dup(taking)

    assert [take_token(taking), take_token(other), take_token(taking)] == [True, False, False]

    for fd in (taking, other, holding):
        os.close(fd)


def test_it_can_be_taken_once_nobody_holds_it() -> None:
    taking, holding = create_token()
    os.close(holding)

    assert [take_token(taking), take_token(taking)] == [True, False]

    os.close(taking)


def test_who_waits_goes_on_when_it_is_let_go_of_and_not_before() -> None:
    taking, holding = create_token()
    again = os.dup(holding)
    await_decision(taking, 0)  # neither the token itself nor one end of two is a decision
    waiting = threading.Thread(target=await_decision, args=(taking, deadline_seconds(10)))
    waiting.start()

    os.close(holding)
    assert waiting.is_alive()
    os.close(again)
    waiting.join(deadline_seconds())

    assert not waiting.is_alive()
    os.close(taking)


def test_a_process_is_gone_once_it_was_ended() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        pidfd = os.pidfd_open(process.pid)
        end_process(pidfd)

        assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        process.wait()
        end_process(pidfd)  # again is no error
        os.close(pidfd)
