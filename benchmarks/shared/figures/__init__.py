"""The figures in results/figures, each a function that draws it."""
