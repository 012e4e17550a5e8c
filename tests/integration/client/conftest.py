from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.client.world import World, world


@pytest.fixture
async def messenger(tmp_path: Path) -> AsyncIterator[World]:
    """Origin and receiver, both up."""
    async with world(tmp_path) as made:
        await made.log.until("peer_joined", peer="bob")
        yield made
