"""Open pages are told that a stream changed."""

from uuid import UUID

from platform_site.common import live


def announce(stream_id: UUID, version: int) -> None:
    """Once the transaction has committed."""
    live.push_on_commit(f"stream.{stream_id}", stream=str(stream_id), version=version)
