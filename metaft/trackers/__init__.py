"""Programs of others that show how a run goes: one file each, and one line of the registry."""
