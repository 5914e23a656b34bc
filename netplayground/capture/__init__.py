"""Packets to conversations: pcap and pcapng in, reassembly of TCP, a dump out; and a dump out as packets.

    octets ─ records ─ link, network, fragments ─ reassembly ─ telling ─ dump.writer
    (file)   (packets)  (headers)                 (streams)    (events)

`records` cuts a file into batches of packets; `link` and `network` find the TCP segment in each, `fragments`
puts IP fragments together; `reassembly` knows all connections, each a `connection` of two `stream`s;
`following` says what a segment means to it, and a listener is told what happens. `importing` leads the
packets through, `telling` writes the dump.

Where NumPy is installed, `fast` takes whole batches: `columns` (headers), `runs` (rows by connection),
`ordinary` and `lives` (connections that are as they should be), `packing` and `keeping` (their place in the
dump). What is odd goes the way above. `ahead` does it in three steps at a time.
"""
