"""Where packets come from: `nfqueue` (held by the kernel for a verdict), `nflog` (copies), over `netlink`."""
