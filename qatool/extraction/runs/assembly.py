"""Turn the parts of a finished run into its output: all rows in order, or only the best answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.extraction.best.best import best_per_question, samples_of
from qatool.extraction.engines.job import N_SAMPLES
from qatool.extraction.runs.summary import metadata
from qatool.files.output.answers import open_writer
from qatool.jobs.prefetch import prefetched

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from qatool.extraction.answering.resolved import AnswerIdentity
    from qatool.extraction.answering.sample import Sample
    from qatool.extraction.best.ranking import Ranking
    from qatool.extraction.runs.earlyoutput import EarlyOutput
    from qatool.files.output.answers import AnswerWriter
    from qatool.files.output.targets import Target
    from qatool.jobs.engines.monitor import Totals
    from qatool.jobs.runfolder.folder import RunFolder
    from qatool.jobs.stopping import Stop
    from qatool.options import ExtractOptions

_PARTS_AHEAD = 4


class Assembly:
    """Writes the output of a run.

    :param totals: the totals of the run, complete by the time the output is
    """

    def __init__(
        self,
        options: ExtractOptions,
        target: Target,
        folder: RunFolder,
        stop: Stop,
        identity: AnswerIdentity,
        totals: Totals,
    ) -> None:
        self._options = options
        self._target = target
        self._folder = folder
        self._stop = stop
        self._identity = identity
        self._totals = totals
        self.rows = 0
        """Rows written so far."""
        self.of_questions: dict[str, int] = {}
        """Counts of questions, for the summary; empty unless only the best answers are kept."""
        self.samples: list[Sample] = []
        """A few of the best answers; empty unless only the best answers are kept."""

    def take(self, early: EarlyOutput) -> bool:
        """Finish an output that was written while parts were made; return ``False`` where it was given up.

        :raises QatoolError: the run is to stop, or the output cannot be written
        """
        written = early.take(self._totals.units, check=self._check_stop)
        if written is None:
            return False
        self.rows = early.rows
        written.close()
        return True

    def write(self, empty: pa.Schema, ranking: Ranking | None) -> None:
        """Stream the parts into the output, which then takes its final name.

        :param empty: the schema of an output without rows
        :param ranking: the ranking of documents, where only the best answers over all documents are wanted
        :raises QatoolError: the run is to stop, or the output cannot be written
        """
        count = self._totals.units
        schema = self._folder.parts.schema(count) if count else empty
        with self.writer(schema) as writer:
            for table in self._tables(count, schema, ranking):
                writer.write(table)
                self.rows += table.num_rows

    def writer(self, schema: pa.Schema) -> AnswerWriter:
        """Return a writer of the output, which takes its final name when the writer is closed."""
        options = self._options
        return open_writer(
            self._target,
            schema,
            lambda: metadata(
                self._identity, self._totals.counts, best_per=options.best_per, max_documents=options.max_documents
            ),
            staging=None if self._target.kind == "stdout" else self._folder.staging(),
            confirm=self._folder.lock.check,
        )

    def _tables(self, count: int, schema: pa.Schema, ranking: Ranking | None) -> Iterator[pa.Table]:
        def tables() -> Iterator[pa.Table]:
            # Parts are read and decompressed while earlier ones are compressed and written.
            with prefetched(
                self._folder.parts.tables(count, schema), depth=_PARTS_AHEAD, poll=self._check_stop
            ) as read:
                yield from self._stoppable(read)

        options = self._options
        if options.best_per is None:
            return tables()
        joint = self._identity.joint_scores
        best = best_per_question(tables, top_k=options.top_k, joint=joint, ranking=ranking)
        self.of_questions = {"questions": best.questions, "questions_answered": best.answered}
        return self._sampled(self._stoppable(best.tables))

    def _sampled(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self.samples = self.samples or samples_of(table, N_SAMPLES, snippet=self._options.snippet)
            yield table

    def _stoppable(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self._check_stop()
            yield table

    def _check_stop(self) -> None:
        self._stop.check(may_run_out=False)
