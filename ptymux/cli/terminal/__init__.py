"""What passes a terminal or a pipe through to a PTY and back."""
