"""Looking on while a run goes on: what its folder tells, as a view on a terminal or as plain text."""
