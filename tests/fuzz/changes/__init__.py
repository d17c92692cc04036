"""Ways to damage a file: each takes its content and a source of chance."""
