"""How answers are printed: JSON, tables, reports, and lines on stderr."""
