"""Jobs: a shard of a dataset, for the runs of a group that do not have it yet."""

from __future__ import annotations

from dataclasses import dataclass

from qubastore.conditions import NVJPEG, Condition
from qubastore.datasets.dataset import Dataset
from qubastore.evaluators.planning.plan import PlannedRun
from qubastore.evaluators.worker.attacks import sample_seed
from qubastore.evaluators.worker.messages import Preparation, ShardRequest
from qubastore.runs.answers import n_outputs
from qubastore.statistics.scores import label_matrix


@dataclass
class Job:
    """A shard of a dataset, for the runs of a group that do not have it yet.

    Attributes:
        losses: How often its decoded images were lost.
        deaths: How often an evaluator died that had no other shard; at least 1 once one died that had others as well.
        alone: Whether it is to be run by an evaluator that has no other shard.
        slots: How many shards' places of its evaluator it takes.
    """

    dataset: Dataset
    runs: list[PlannedRun]
    condition: Condition
    shard: int
    first: int
    end: int
    losses: int = 0
    deaths: int = 0
    alone: bool = False
    slots: int = 1

    @property
    def decoder(self) -> str:
        """What decodes its images."""
        return self.runs[0].run.decoder

    def request(self, failed: set[str]) -> ShardRequest:
        """The request to an evaluator, for the runs that have not failed.

        Args:
            failed: Ids of runs that failed.
        """
        labels = label_matrix([sample.labels for sample in self.dataset.samples[self.first : self.end]])
        active = [p for p in self.runs if run_key(p) not in failed]
        preparation = self._preparation()
        return ShardRequest(
            shard=self.shard,
            first_sample=self.first,
            n_samples=self.end - self.first,
            labels=labels,
            runs={p.model.model_id: p.run.run_id for p in active},
            classes={p.model.model_id: n_outputs(p.label_space, len(self.dataset.classes)) for p in active},
            label_spaces={p.model.model_id: p.label_space for p in active},
            keep={p.model.model_id: p.keep for p in active},
            condition=self.condition,
            seeds=self._seeds(),
            preparation=preparation,
            keys=tuple(sample.key for sample in self.dataset.samples[self.first : self.end]) if preparation else (),
        )

    def _preparation(self) -> Preparation | None:
        """How the evaluator prepares images that it decodes itself."""
        preprocessing = self.runs[0].preprocessing
        if self.decoder != NVJPEG or preprocessing is None:
            return None
        return Preparation(preprocessing, self.condition.shift)

    def _seeds(self) -> tuple[int, ...]:
        if self.condition.parameters.get("start") != "random":
            return ()
        text = str(self.condition)
        return tuple(sample_seed(sample.key, text) for sample in self.dataset.samples[self.first : self.end])


def run_key(planned: PlannedRun) -> str:
    """The id of a planned run."""
    return planned.run.run_id


def jobs_of(group: list[PlannedRun]) -> list[Job]:
    """One job per dataset, framing, condition and range of samples, for all runs of the group that miss it."""
    jobs: dict[tuple[str, str, str, int, int, int], Job] = {}
    for planned in group:
        condition = planned.condition
        for shard in planned.missing:
            first, end = planned.run.shard_range(shard)
            key = (planned.dataset.dataset_id, planned.run.framing, planned.run.condition, shard, first, end)
            job = jobs.setdefault(key, Job(planned.dataset, [], condition, shard, first, end))
            job.runs.append(planned)
    return list(jobs.values())
