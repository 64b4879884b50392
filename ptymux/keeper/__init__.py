"""The keeper process: it owns terminals and children, and does nothing with their output."""
