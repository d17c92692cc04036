"""What reads each kind, as a command or a program would; returns all that the reader said."""
