"""`ptymux stress`: floods real PTYs on the user's own machine, and checks every byte of it."""
