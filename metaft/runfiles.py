"""What files in a run's folder are called, where more than one place has to know."""

SETTINGS = "config.yaml"
OBJECTIVE = "objective.yaml"
RESULTS = "results.json"
PAGE = "report.html"  # the last that a run writes
SEEDS = "seeds.json"  # of a run with several seeds, whose own folders are in it
PICTURES = "pictures.json"  # what a run has read, where it skips what cannot be read
SUMMARY = "summary.json"  # over these
