"""What `ptymux wait` waits for: the end of a PTY, a text, silence, a state, a prompt."""
