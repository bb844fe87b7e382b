"""The shipped gates: one folder for each family of models. In an installed package they are ``pytest_edgeai.suites``."""
