"""The dashboard: how it gets its numbers, draws its picture and understands its keys."""
