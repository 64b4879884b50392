"""The commands of `ptymux`, a file for each, named as it is."""
