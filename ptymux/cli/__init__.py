"""The `ptymux` command: it parses words, asks the server or the library, and prints."""
