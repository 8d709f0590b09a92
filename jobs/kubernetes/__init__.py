"""Kubernetes: JobSpecs as manifests, what a pod runs, and what the cluster says of it."""
