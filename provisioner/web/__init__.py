"""The workers of an inventory, live, in a browser on this machine: `b9prov web`.

fleet = Fleet(hosts, host_keys); server = Server(fleet, port); server.begin()
"""
