"""Block lists of hundreds of thousands of entries: read once, then asked about every new flow.

- `domains`: names, looked up exactly or with everything below them; what a canonical name is;
- `prefixes`: IPv4 and IPv6 addresses as sorted, disjoint intervals, as the kernel's sets want them;
- `urls`: what of a URL plain HTTP shows on the wire;
- `block_list`: what a list says, and what of it could not be read;
- `registry`: the Russian registry dump; `formats`: the other formats, which one a file is in, reading a file.
"""
