"""Fuzzing: whatever comes from outside ends in success or in an error with a documented exit code, and soon."""
