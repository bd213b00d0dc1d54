"""`pertoken adopt`: manifests for the engines that run in a cluster already."""
