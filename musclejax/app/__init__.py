"""One program a command: the process, the loop, progress bars, exit codes."""
