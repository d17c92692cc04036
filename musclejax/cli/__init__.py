"""The command line: options and help, a file per command; `app` has the programs."""
