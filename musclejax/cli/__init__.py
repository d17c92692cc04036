"""The command line: the only place that prints, reads the clock and sets up the process."""
