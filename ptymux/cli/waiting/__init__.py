"""What `ptymux wait` can wait for: the end of a PTY, words, silence, a state, a prompt."""
