"""`orchestra chaos`: mixed traffic over several processes while everything around them fails, and what is left of it.

Everything is on this machine: simulated providers in the conducting process, workers with a router each on one
database. No key, no network, no cost.
"""
