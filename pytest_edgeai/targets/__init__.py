"""Targets: the classes of hardware that models are deployed to, as data; one module for each source of them."""
