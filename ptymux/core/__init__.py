"""The rules of ptymux as pure code: no system calls, no clock, no event loop."""
