from __future__ import annotations

import os
import signal

from ptymux.posix.signals import SignalInbox


def test_signals_are_collected_in_order_and_do_again_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGUSR1)

    with SignalInbox((signal.SIGUSR1, signal.SIGHUP)) as inbox:
        for signum in (signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), signum)
        assert inbox.take() == [signal.SIGHUP, signal.SIGUSR1]
        assert inbox.take() == []

    assert signal.getsignal(signal.SIGUSR1) is before


def test_one_that_says_nothing_new_is_ignored_afterwards() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        with SignalInbox((signal.SIGHUP,)) as inbox:
            inbox.ignore_afterwards(signal.SIGHUP)
            inbox.ignore_afterwards(signal.SIGUSR1)  # which is not collected
        os.kill(os.getpid(), signal.SIGHUP)  # or this would be the end

        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
