"""fan8 on other systems; each file is a driver and runs in a virtualenv that has that system only."""
