"""What a method may change in a training step: hooks, in the final loop and in the inner loop alike."""
