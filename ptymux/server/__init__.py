"""The server process: a manager of the keeper's PTYs, offered to clients on a socket."""
