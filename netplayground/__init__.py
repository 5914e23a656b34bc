"""Net Playground: run programs in network namespaces, record every byte they say, replay it."""

__version__ = "0.1.0"
