"""A scan on disk and as arrays: files, geometry, intensities and sides."""
