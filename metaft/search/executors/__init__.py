"""Where trials run: here, in processes on this machine, or on a Ray cluster."""
