"""The tables of RESULTS.md, each a function without arguments that reads committed results."""
