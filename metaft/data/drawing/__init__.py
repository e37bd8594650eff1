"""Drawing of the embedded suites' pictures."""
