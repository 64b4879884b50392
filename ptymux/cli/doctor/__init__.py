"""The checks of `ptymux doctor`: of the machine, and of what one user has of ptymux there."""
