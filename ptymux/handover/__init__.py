"""What passes from one process to the next, so that PTYs outlive each of them."""
