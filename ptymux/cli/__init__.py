"""The `ptymux` command: one file per group of commands, parsing and printing only."""
