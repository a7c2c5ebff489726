"""Uploads over a WebSocket: resumable, verified, durable."""

from handlers.upload.handler import Upload

__all__ = ["Upload"]
