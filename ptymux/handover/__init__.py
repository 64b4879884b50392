"""The handover: what one process passes to its replacement, so that PTYs outlive both."""
