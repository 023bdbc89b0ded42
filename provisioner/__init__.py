"""b9prov: takes Linux boxes over SSH from bare to ready in a Beta9 cluster, and keeps them there."""

__version__ = "0.1.0"
