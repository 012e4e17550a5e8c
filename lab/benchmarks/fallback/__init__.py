"""How fast a client goes on when its path is blocked: policies, block types, and what their messages live through."""
