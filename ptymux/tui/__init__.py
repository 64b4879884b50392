"""What people look at: pictures of PTYs for a terminal, and the loop that keeps them true."""
