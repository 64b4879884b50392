"""`ptymux stress`: proves the promises about bounded output on the user's own machine."""
