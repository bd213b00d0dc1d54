"""The operator's image without a container daemon: built on Debian's packages, checked, run as a pod would."""
