"""Every system call about terminals, processes and shared memory; OSError is translated here."""
