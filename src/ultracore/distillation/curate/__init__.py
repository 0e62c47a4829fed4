"""Stage 2, keep what teaches: embeddings of decisions, deduplication, representatives."""

from ultracore.distillation.curate.cache import EmbeddingCache
from ultracore.distillation.curate.car import AdaptiveCaR, CaR
from ultracore.distillation.curate.duplicates import Duplicates
from ultracore.distillation.curate.embed import embed_decisions, state_text
from ultracore.distillation.curate.openai_embeddings import OpenAIEmbeddings
from ultracore.distillation.curate.selectors import SELECTORS, select_rows
from ultracore.distillation.curate.semdedup import SemDeDup, deduplicate_rows
from ultracore.distillation.curate.validate import choose_threshold

__all__ = [
    "SELECTORS",
    "AdaptiveCaR",
    "CaR",
    "Duplicates",
    "EmbeddingCache",
    "OpenAIEmbeddings",
    "SemDeDup",
    "choose_threshold",
    "deduplicate_rows",
    "embed_decisions",
    "select_rows",
    "state_text",
]
