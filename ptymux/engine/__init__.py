"""PTYs behind one epoll: masters, rings, children and input."""
