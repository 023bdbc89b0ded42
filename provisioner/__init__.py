"""b9prov: takes Linux boxes over SSH from bare to ready workers of a Beta9 cluster."""

__version__ = "0.1.0"
