"""How a manager holds an engine: in its own process, or in a keeper's."""
