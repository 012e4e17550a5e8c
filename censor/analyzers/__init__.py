"""Sans-IO: properties out of payloads, one module a protocol. Any bytes are good input: an analyzer never raises."""
