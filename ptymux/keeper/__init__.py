"""The data plane: owns PTYs and children, drains output into rings, parses no user data."""
