"""The command line; each file registers one group of commands."""
