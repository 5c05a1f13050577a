"""One script per shipped asset or stored run, configuration on top. `make assets` runs them in order."""
