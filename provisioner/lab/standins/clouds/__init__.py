"""Stand-ins of the APIs of clouds, whose machines are hosts of a lab, or nothing."""
