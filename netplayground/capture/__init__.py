"""Packets to conversations: pcap and pcapng in, reassembly of TCP, a dump out; and a dump out as packets.

    octets ─ records ─ link, network ─ reassembly ─ importing ─ dump.writer
    (file)   (packets)  (headers)       (streams)    (processes, events)

`records` cuts a file into batches of packets; `link` and `network` find the TCP segment in each, `fragments`
puts IP fragments together, `reassembly` turns segments into events, and `importing` writes the events. Where
NumPy is installed, `columns` and `fast` do for whole batches at once what is in order, and hand the odd
packets to `reassembly`.
"""
