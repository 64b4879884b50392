"""The types of a server's answers name the members that it sends."""

from __future__ import annotations

from typing import get_type_hints

from ptymux.client.answers import Buffer
from ptymux.core.notifications import BufferStats


def test_the_numbers_of_a_buffer_are_those_that_are_counted() -> None:
    counted, answered = get_type_hints(BufferStats), get_type_hints(Buffer)

    assert list(answered.items()) == list(counted.items())
