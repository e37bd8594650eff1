"""What the benchmarks stand on; nothing in here runs by itself."""
