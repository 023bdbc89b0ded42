"""What is wrong with a fleet, by the evidence of its hosts: causes first, with what mends them.

`diagnose` is a function of evidence alone: nothing in this room connects to anything.
"""

from provisioner.doctor.diagnose import diagnose
from provisioner.doctor.evidence import CONTROLLER, Fleet, Host
from provisioner.doctor.findings import ERROR, NOTE, Finding, Repair

__all__ = ["CONTROLLER", "ERROR", "NOTE", "Finding", "Fleet", "Host", "Repair", "diagnose"]
