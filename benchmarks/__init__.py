"""Measures b9prov against prepared scripts and against its peers."""
