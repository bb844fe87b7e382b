"""Frameworks: the engines that come with the package, one file each, found by the hook that a third party's engine uses."""
