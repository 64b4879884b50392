"""What commands print: JSON, tables, reports, output of PTYs, messages on stderr."""
