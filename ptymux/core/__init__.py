"""The rules of ptymux as pure code: no system call, no clock, no event loop."""
