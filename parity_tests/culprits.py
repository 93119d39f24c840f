"""The search for the first module that diverges, which a failed test of a whole model makes."""

import functools
from dataclasses import dataclass

from frameworks.arrays import Arrays
from frameworks.judge.blame import Culprit, Limit, find_culprit
from frameworks.judge.decisions import forced_decisions
from frameworks.shared.tolerances import FLOAT32_KINKS, float64_limit
from frameworks.state.module_paths import module_paths
from parity_tests.agreement import float32_comparisons, own_limits
from parity_tests.cases.subjects import Subject
from parity_tests.traces import TRUTH, Traces, whole_pass


@dataclass(frozen=True)
class CulpritSearch:
    """Searches the training pass of a subject, or its pass in evaluation mode, in one framework.

    ``limit``: of the passes in float64. In float32 every tensor has the limit that the parity tests give it.
    """

    traces: Traces
    subject: Subject
    training: bool = True
    limit: Limit = float64_limit

    def __call__(self, framework: str, dtype: str, device: str) -> Culprit | None:
        """The first place where the framework differs from the truth; None where this pass does not."""
        truth, where = self._pass(*TRUTH, forced={}), (framework, dtype, device)
        forced = forced_decisions(truth) if dtype == "float32" else {}
        output = self._pass(*where, forced=forced)
        limit = self.limit if dtype == "float64" else self._float32_limit(truth, forced, framework, device)
        again = functools.partial(self.traces.replay, self.subject, training=self.training)
        modules = module_paths(self.subject.spec.model)
        return find_culprit(
            modules, output, truth, lambda part: again(part, *where), lambda part: again(part, *TRUTH), limit
        )

    def _pass(self, framework: str, dtype: str, device: str, forced: Arrays) -> Arrays:
        case, inputs = whole_pass(self.subject, self.training)
        return self.traces.run(case, self.subject, inputs | forced, framework, dtype, device)

    def _float32_limit(self, truth: Arrays, forced: Arrays, framework: str, device: str) -> Limit:
        case, inputs = whole_pass(self.subject, self.training)
        outputs = self.traces.run_all(case, self.subject, inputs | forced, "float32", device)
        modules = tuple(module_paths(self.subject.spec.model))
        return own_limits(float32_comparisons(outputs, truth, modules, FLOAT32_KINKS)[framework])
