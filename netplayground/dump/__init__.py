"""The file: pcapng blocks, the writer, the reader, the index, the check."""
