"""The engine: many PTYs behind one epoll, with their output, input and children."""
