"""The search for training settings: hyperband, its log, its pictures, here or on a cluster."""
