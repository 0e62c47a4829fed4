"""The teacher's servers: asked in order, within deadlines, and again where that can help."""

from ultracore.distillation.serve.upstream.client import Upstream, upstream_from_settings

__all__ = ["Upstream", "upstream_from_settings"]
