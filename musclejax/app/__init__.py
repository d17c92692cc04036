"""One program per command: the process, the loop, progress bars, exit codes."""
