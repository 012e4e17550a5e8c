"""The ranges of the policies' constants, for their settings: what is outside of them no policy can mean. Sans-IO."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0)]
"""A time; 0 is at once."""
Interval = Annotated[float, msgspec.Meta(ge=0.05)]
"""Seconds between two dials, or two pings, of one kind: less is a storm."""
Factor = Annotated[float, msgspec.Meta(ge=0)]
"""So many times something else."""
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A part of a whole, a probability."""
Count = Annotated[int, msgspec.Meta(ge=0)]
"""So many; 0 is none."""
Positive = Annotated[int, msgspec.Meta(ge=1)]
"""So many, at least one."""
