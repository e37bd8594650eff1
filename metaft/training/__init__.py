"""What every training takes: batches of one split, and how the learning rate runs."""
