"""Tables, figures and pages from results.json; nothing here imports torch."""
