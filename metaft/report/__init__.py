"""Tables, figures and pages from results.json; nothing here knows torch."""
