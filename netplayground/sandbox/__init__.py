"""Kernel objects: namespaces, TUN devices, links, routes and the processes that live in them.

The only importer of pyroute2 and pytun, and only inside the functions that need them: both are loaded before
the first fork and never after it, so that a hundred forked processes share what was loaded once.
"""
