"""Live traffic: the event loop, the router between TUN devices, connection set-up, and pipes."""
