"""Measuring fitted models: scores on test splits, and distances from theta_0."""
