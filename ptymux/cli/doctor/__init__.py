"""What `ptymux doctor` checks."""
