"""Looking at fitted models: scores on test splits, and how far they have gone from theta_0."""
