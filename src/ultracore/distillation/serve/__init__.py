"""Stage 5: answer, or hand over."""

from ultracore.distillation.serve.app import create_app
from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.server import serve
from ultracore.distillation.serve.upstream.client import Upstream, upstream_from_settings

__all__ = ["Escalate", "Gate", "Reason", "Send", "Upstream", "create_app", "serve", "upstream_from_settings"]
