"""Pages that open from disk, without a server or the internet: everything stands inside."""
