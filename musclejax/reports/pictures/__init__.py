"""Pictures that people look at: slices with their labels, contact sheets, plots of evaluations."""
