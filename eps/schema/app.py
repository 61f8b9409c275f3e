"""The page in a browser: `app`."""

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class AppConfig:
    host: str
    """Address that the page is served on. 127.0.0.1: to this machine alone; 0.0.0.0: to whoever reaches it, without a
    password."""
    port: int
    """Of that address; 0 takes a free one."""
    max_upload_mb: float
    """MiB that a photo's file may have."""
    max_megapixels: float
    """Million pixels that a photo may have; more is refused before they are read."""
    max_side: int
    """Photos are made smaller until no side has more pixels, and so are the files to download; 0: none is."""
