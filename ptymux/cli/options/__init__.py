"""What options mean: values, keys, names of PTYs, and defaults from the config file."""
