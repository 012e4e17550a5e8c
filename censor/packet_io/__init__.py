"""Where packets come from: `nfqueue` (held by the kernel for a verdict), `nflog` (copies), over `netlink`; and capture
files: `pcap`, which reads `pcapng` too and writes, over `capture_file` and `link_types`.
"""
