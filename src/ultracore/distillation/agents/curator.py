"""The curator: hold back what must certify, then remove only duplicates that teach nothing.

Whole tasks are held back first and stay untouched (`split: "calibration"`): a certificate speaks
about the traffic as it is, not as curation left it. Of the rest exactly equal states with the same
decision are merged; similar ones only as far as a validation split supports it. Whatever goes beyond
equal states has to pass `curation_gate`: where a student could lose more than the limit, more is kept.
Every row carries the `weight` it stands for, so that the weights add up to the source. What this file
does not know: how the stages do their work (`curate`), and what is trained on the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ultracore.distillation.agents.base import Agent
from ultracore.distillation.agents.curation_gate import LEAST_TASKS, LOSS_LIMIT, Gated, best_selector, gate
from ultracore.distillation.agents.rows import of_teacher
from ultracore.distillation.curate import CaR, EmbeddingCache, SemDeDup, choose_threshold
from ultracore.distillation.curate.embed import Matrix, Row, read_decisions
from ultracore.distillation.curate.functions import EmbeddingFunction
from ultracore.distillation.curate.pairs import HERE, Progress
from ultracore.distillation.curate.recipe import Recipe
from ultracore.distillation.curate.selectors import SELECTORS
from ultracore.distillation.curate.validate import CANDIDATES, ThresholdChoice
from ultracore.distillation.curate.workers import Workers
from ultracore.distillation.decisions import Decision, decisions_from_rows
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import Event, TrainingDataCuratedEvent
from ultracore.distillation.splits import parts_by_task, units_of
from ultracore.distillation.train.dataset import TRAIN, Dataset, unrecorded

__all__ = ["CurationPlan", "CurationRequest", "DataCuratorAgent"]

Say: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

LEAST_ROWS = 10
CALIBRATION_SHARE = 0.3
CALIBRATION_TASKS = 60  # 59 without an error certify 95 % agreement at 95 % confidence
CALIBRATION = "calibration"
_EXACT = Gated(Recipe(), [], "nothing but equal states goes, which costs nothing")


class CurationRequest(NamedTuple):
    """What came in, of it the teacher's rows, as they are and as they are read; 10 x 5 representatives on request."""

    given: list[Row]
    rows: list[Row]
    decisions: list[Decision]
    similarity_threshold: float | None
    keep: float | None
    selector: str | None
    clusters: int | None
    examples_per_cluster: int


class CurationPlan(NamedTuple):
    """What to do: nothing (`reason` says why), or which rows to hold back and how to reduce the others."""

    request: CurationRequest
    skip: bool
    calibration: list[int]
    training: list[int]
    choice: ThresholdChoice
    gated: Gated
    notes: list[str]


class DataCuratorAgent(Agent[CurationRequest, CurationPlan]):
    """Curates training data: `await execute({"raw_decisions": logger.get_history()})`.

    The input may also hold `similarity_threshold` (instead of validating one), `keep` (the share of
    the training rows wanted) with `selector` (a name in `SELECTORS`; by default the one whose student
    agrees most on held-out tasks), and `clusters` with `examples_per_cluster` (keep only the
    representatives that `CaR` chooses; see there why not). A threshold of the caller's and clusters are
    orders, which the gate does not overrule; `keep` is a wish: it grows until the gate lets it pass, and
    `stats["gate"]` says what was measured.

    The result is `{"status": "curated", "curated_data": [...], "stats": {...}}`: the training rows,
    then those held back with `split: "calibration"`. Under 10 decisions it is `"skipped"`, with
    `curated_data` as it came. Rows that a student answered (`source: "student"`) are left out: they are
    no labels; `stats["notes"]` says how many. The weights of `curated_data` add up to those of the others.

    Args:
        agent_id: Its name.
        calibration_share: Share of the tasks to hold back, 0 for none. By default 0.3, and more (up
            to a half) where that is less than 60 tasks.
        thresholds: Candidate similarity thresholds; none: exact duplicates only.
        keep: Default of the input's `keep`, in (0, 1); `None`: all that merging leaves.
        selector: Default of the input's `selector`.
        loss_limit: What curation may cost, as the upper end of a 95 % interval of the loss of whole-call
            agreement (0..1); `None` asks no student. It costs the training of two to six small students,
            and only where something but equal states would go.
        clusters: Default of the input's `clusters`; `None`: no selection of representatives.
        examples_per_cluster: Default of the input's `examples_per_cluster`.
        embedding_function: text -> vector or texts -> matrix, synchronous or async; hashed by default.
        seed: Of the split, the folds and the clusters; that of the settings by default.
        say: Told what is being done, how much of it is done, and of how much.
        workers: Where similar states are looked for: in this process, or `curate.on_ray.OnRay`.
        **base: See `Agent`.

    Raises:
        ConfigurationError: `calibration_share` is not in [0, 1), or `loss_limit` is negative.
    """

    name = "data_curator"
    capabilities = ("hold_back_calibration", "deduplicate", "select_representatives")

    def __init__(
        self,
        agent_id: str | None = None,
        *,
        calibration_share: float | None = None,
        thresholds: Sequence[float] = CANDIDATES,
        keep: float | None = None,
        selector: str | None = None,
        loss_limit: float | None = LOSS_LIMIT,
        clusters: int | None = None,
        examples_per_cluster: int = 5,
        embedding_function: EmbeddingFunction | None = None,
        seed: int | None = None,
        say: Say = lambda what, done, total: None,
        workers: Workers = HERE,
        **base: Any,
    ) -> None:
        super().__init__(agent_id, **base)
        if calibration_share is not None and not 0 <= calibration_share < 1:
            raise ConfigurationError(f"calibration_share must lie in [0, 1), not {calibration_share}")
        if loss_limit is not None and not loss_limit >= 0:
            raise ConfigurationError(f"loss_limit must be at least 0, not {loss_limit}")
        self.calibration_share = calibration_share
        self.keep = keep
        self.selector = selector
        self.loss_limit = loss_limit
        self.thresholds = thresholds
        self.clusters = clusters
        self.examples_per_cluster = examples_per_cluster
        self.embedding_function = embedding_function
        self._seed = seed
        self.say = say
        self.workers = workers
        self._cache = EmbeddingCache()

    @property
    def seed(self) -> int:
        """Seed of everything random here."""
        return self.settings.seed if self._seed is None else self._seed

    async def perceive(self, context: Mapping[str, Any]) -> CurationRequest:
        """Read the rows.

        Raises:
            ConfigurationError: There is no list `raw_decisions`, or an option is unusable.
            DataError: A row cannot be read.
        """
        raw: Any = context.get("raw_decisions")
        rows = of_teacher(raw, "the curator needs {'raw_decisions': [...]}")
        threshold = context.get("similarity_threshold")
        if threshold is not None:
            SemDeDup(threshold)  # refuses an unusable one before any work is done
        keep, selector = context.get("keep", self.keep), context.get("selector", self.selector)
        if keep is not None and not 0 < keep < 1:
            raise ConfigurationError(f"keep must lie in (0, 1), not {keep}")
        if selector is not None and selector not in SELECTORS:
            raise ConfigurationError(f"selector must be one of {', '.join(SELECTORS)}; not {selector!r}")
        return CurationRequest(
            given=list(raw),
            rows=rows,
            decisions=read_decisions(rows) if len(rows) >= LEAST_ROWS else [],
            similarity_threshold=threshold,
            keep=keep,
            selector=selector,
            clusters=context.get("clusters", self.clusters),
            examples_per_cluster=context.get("examples_per_cluster", self.examples_per_cluster),
        )

    async def decide(self, observation: CurationRequest) -> CurationPlan:
        """Split off the calibration tasks, and find the threshold that the other tasks support."""
        if len(observation.rows) < LEAST_ROWS:
            nothing = ThresholdChoice(None, [], "too few decisions")
            return CurationPlan(
                observation, skip=True, calibration=[], training=[], choice=nothing, gated=_EXACT, notes=[]
            )
        calibration, notes = self._hold_back(observation.decisions)
        if left_out := len(observation.given) - len(observation.rows):
            notes = [*notes, f"{left_out} rows that a student answered were left out: they are no labels"]
        held = set(calibration)
        training = [row for row in range(len(observation.rows)) if row not in held]
        choice = await self._choose(observation, training)
        gated = await self._gate(observation, training, choice)
        return CurationPlan(
            observation, skip=False, calibration=calibration, training=training, choice=choice, gated=gated, notes=notes
        )

    async def act(self, plan: CurationPlan) -> dict[str, Any]:
        """Reduce the training rows and record the event."""
        rows = plan.request.rows
        if plan.skip:
            given = plan.request.given
            reason = f"{len(rows)} decisions of a teacher are too few to curate; at least {LEAST_ROWS} are needed"
            stats = {"original_count": len(given), "curated_count": len(given), "deduplication_rate": 0.0}
            return {"status": "skipped", "curated_data": given, "stats": stats, "reason": reason}
        kept, stats = await self._reduce(plan)
        curated = kept + [_held(rows[row]) for row in plan.calibration]
        dataset = Dataset.of((d.split or TRAIN, d) for d in decisions_from_rows(curated))
        stats = _stats(plan, dataset) | stats
        *_, event = await self.record_all(self._events(dataset, stats))
        return {"status": "curated", "curated_data": curated, "stats": stats, "event_id": event.metadata.event_id}

    def _hold_back(self, decisions: Sequence[Decision]) -> tuple[list[int], list[str]]:
        """Indices of the rows for the certificate; those that an earlier curation held back stay so."""
        marked = [row for row, decision in enumerate(decisions) if decision.split == CALIBRATION]
        if marked or self.calibration_share == 0:
            return marked, []
        units = len(set(units_of(decisions)))
        if units < 2:
            return [], ["all decisions belong to one task: nothing could be held back for a certificate"]
        share = self.calibration_share or max(CALIBRATION_SHARE, min(CALIBRATION_TASKS, units // 2) / units)
        parts = parts_by_task(decisions, (1 - share, share), self.seed)
        return [row for row, part in enumerate(parts) if part == 1], []

    async def _choose(self, request: CurationRequest, training: Sequence[int]) -> ThresholdChoice:
        if request.similarity_threshold is not None:
            return ThresholdChoice(request.similarity_threshold, [], "the caller set the threshold")
        if not self.thresholds:
            return ThresholdChoice(None, [], "no candidate threshold was given: only exact duplicates go")
        decisions = [request.decisions[row] for row in training]
        embeddings = await self._embed(decisions)
        return await asyncio.to_thread(choose_threshold, decisions, embeddings, self.thresholds, self.seed)

    async def _gate(self, request: CurationRequest, training: Sequence[int], choice: ThresholdChoice) -> Gated:
        """What to do to the training rows, and what it costs a student."""
        is_ordered = request.similarity_threshold is not None and request.keep is None
        if choice.threshold is None and request.keep is None:
            return _EXACT
        decisions = [request.decisions[row] for row in training]
        embeddings = await self._embed(decisions)
        plan = _Plan(decisions, embeddings, choice.threshold, request.keep, request.selector)
        return await asyncio.to_thread(
            plan.gated, None if is_ordered else self.loss_limit, self.seed, self.say, self.workers
        )

    async def _embed(self, rows: Sequence[Row]) -> Matrix:
        return await self._cache.embed(rows, self.embedding_function, partial(self.say, "embedding states"))

    async def _reduce(self, plan: CurationPlan) -> tuple[list[Any], dict[str, Any]]:
        rows, recipe = [plan.request.rows[row] for row in plan.training], plan.gated.recipe
        is_exact = recipe.threshold is None and recipe.keep is None
        embeddings = None if is_exact else await self._embed(rows)
        say = partial(self.say, "comparing states")
        kept, stats = await asyncio.to_thread(recipe.apply, rows, embeddings, self.seed, say=say, workers=self.workers)
        counts = {
            "exact_duplicates": stats["exact_duplicates"],
            "near_duplicates": stats["duplicates_removed"] - stats["exact_duplicates"],
            "not_chosen": stats["deduplicated_count"] - len(kept),
            "teacher_disagreements": stats["teacher_disagreements"],
        }
        if plan.request.clusters is None:
            return kept, counts | {"cluster_count": 0}
        chosen, selection = await self._select(kept, plan.request.clusters, plan.request.examples_per_cluster)
        return chosen, counts | selection

    async def _select(self, rows: list[Any], clusters: int, examples: int) -> tuple[list[Any], dict[str, Any]]:
        embeddings = await self._embed(rows)
        chosen, stats = await CaR(clusters, examples, seed=self.seed).select_representatives(rows, embeddings)
        return chosen, {key: stats[key] for key in ("cluster_count", "silhouette_score", "cluster_stats")}

    def _events(self, dataset: Dataset, stats: Mapping[str, Any]) -> list[Event]:
        """The manifest, where the log has none of it yet, and the curation itself."""
        stamp: dict[str, Any] = {"tenant_id": self.settings.tenant, "clock": self.clock}
        curated = TrainingDataCuratedEvent.record(
            **stamp,
            dataset_id=dataset.dataset_id,
            content_hash=dataset.content_hash,
            seed=self.seed,
            parameters={
                "method": "semdedup",
                **{key: stats[key] for key in ("similarity_threshold", "keep", "selector")},
            },
            source_event_count=stats["original_count"],
            curated_count=stats["curated_count"],
            deduplication_rate=stats["deduplication_rate"],
            cluster_count=stats["cluster_count"],
            quality_score=stats["validation_agreement"],
        )
        clusters = [found["cluster_id"] for found in stats.get("cluster_stats", ()) for _ in found["representatives"]]
        clusters += [-1] * (len(dataset.entries) - len(clusters)) if clusters else []
        return [*unrecorded(dataset, self.store, clusters=clusters, **stamp), curated]


class _Plan(NamedTuple):
    """Recipes for the training rows."""

    decisions: list[Decision]
    embeddings: Matrix
    threshold: float | None
    keep: float | None
    selector: str | None

    def gated(self, limit: float | None, seed: int, say: Say, workers: Workers) -> Gated:
        """The first recipe within the limit; the boldest where nobody asks."""
        if self.keep is None:
            recipes = [Recipe(self.threshold)]
        else:
            selector = self.selector or self._selector(self.keep, seed, partial(say, "comparing ways to choose"))
            recipes = [Recipe(self.threshold, share, selector) for share in _growing(self.keep)]
        if limit is None:
            return Gated(recipes[0], [], "no student was asked what it costs")
        asking = partial(say, "asking students what it costs")
        return gate(self.decisions, self.embeddings, recipes, limit, seed, say=asking, workers=workers)

    def _selector(self, keep: float, seed: int, say: Progress) -> str:
        if len(set(units_of(self.decisions))) < LEAST_TASKS:
            return Recipe().selector
        return best_selector(self.decisions, self.embeddings, keep, seed, say=say)


def _growing(keep: float) -> list[float]:
    """Shares to try: each twice the one before."""
    shares = [keep]
    while shares[-1] < 0.5:
        shares.append(2 * shares[-1])
    return shares


def _stats(plan: CurationPlan, dataset: Dataset) -> dict[str, Any]:
    before, curated = len(plan.request.rows), dataset.entries
    return {
        "original_count": before,
        "curated_count": len(curated),
        "deduplication_rate": 1 - len(curated) / before,
        "dataset_id": dataset.dataset_id,
        "training_count": len(curated) - len(plan.calibration),
        "calibration_count": len(plan.calibration),
        "total_weight": sum(entry.weight for entry in curated),
        "similarity_threshold": plan.gated.recipe.threshold,
        "keep": plan.gated.recipe.keep,
        "selector": plan.gated.recipe.selector if plan.gated.recipe.keep is not None else None,
        "gate": plan.gated.evidence,
        "gate_reason": plan.gated.reason,
        "threshold_reason": plan.choice.reason,
        "threshold_evidence": plan.choice.evidence,
        "validation_agreement": plan.choice.agreement,
        "notes": plan.notes,
    }


def _held(row: Row) -> Row:
    if isinstance(row, Decision):
        return msgspec.structs.replace(row, split=CALIBRATION)
    return {**row, "weight": float(row.get("weight") or 1.0), "split": CALIBRATION}
