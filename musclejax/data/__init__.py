"""What the networks learn from: cases, slices, weight maps, augmentation, batches."""
