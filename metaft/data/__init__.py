"""Data sets: formats by name, each giving the splits a search may see and the tests it may not."""
