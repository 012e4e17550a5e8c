"""Sans-IO: how the censor divides the 32 bits of packet mark and connmark on its host."""

GENERATION_MASK = 0x00FFFFFF
"""The generation in which a flow was decided; 0: it was not."""

INJECTED_MASK = 0xFF000000
INJECTED_MARK = 0x53000000
"""On packets that the censor forged."""
