"""Write decisions down, read them back as rows, and import those that others wrote."""

from ultracore.distillation.log.history import decisions_from_log, rows_from_log
from ultracore.distillation.log.importing import FileReport, ImportReport, import_files
from ultracore.distillation.log.logger import AgentDecisionLogger
from ultracore.distillation.log.mixin import DecisionLoggerMixin

__all__ = [
    "AgentDecisionLogger",
    "DecisionLoggerMixin",
    "FileReport",
    "ImportReport",
    "decisions_from_log",
    "import_files",
    "rows_from_log",
]
