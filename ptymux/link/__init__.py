"""The links between a manager and its engine: in the same process, or in a keeper's."""
