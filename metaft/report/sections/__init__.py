"""The sections of a page, one file each: a function of a run, or of all runs, to HTML; empty where there is nothing."""
