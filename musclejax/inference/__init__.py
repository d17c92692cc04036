"""From a scan to labelled muscles, measurements and files."""
