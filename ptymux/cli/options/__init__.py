"""What people write in options: sizes and times, keys, names of PTYs, defaults from a file."""
