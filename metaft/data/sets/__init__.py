"""Data sets by name: one file each with its declaration, and what reads all of them."""
