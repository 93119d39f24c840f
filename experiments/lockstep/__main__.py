"""Lockstep: train both frameworks side by side and compare their divergence with each one's from itself.

    python -m experiments.lockstep

Both start from the same weights and see the same batches. Perturbed runs of each framework, whose weights are moved
by one unit in the last place of float32, make the envelope. Ends with exit status 1 if the frameworks part faster
than that, or if a planted fault stays inside. A second call goes on where the first one stopped.
"""

import contextlib
import sys
from dataclasses import fields

from experiments.command import COMPLETE, FAILED, Parser, require_positive, run_command
from experiments.lockstep.plan import DTYPES, Plan
from experiments.lockstep.session import Session
from experiments.runs.host import GENERATED
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.workers.client import WorkerFailure
from reports.lockstep.envelope import judged
from reports.lockstep.page import build_page
from reports.lockstep.records import RECORDS, read


def start(arguments: list[str] | None) -> int:
    """Run the command line; returns the exit status. Raises UserError for wrong arguments and missing data."""
    given = _parser().parse_args(arguments)
    settings = {each.name: getattr(given, each.name) for each in fields(Plan)}
    require_positive(settings, "steps", "perturbed", "size", "batch")
    dtypes = tuple(given.dtypes.split(","))
    if not set(dtypes) <= set(DTYPES):
        raise UserError(f"--dtypes is {given.dtypes}; expected {','.join(DTYPES)} or one of them")
    folder = user_path(given.out).absolute() if given.out else GENERATED / "lockstep"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            Session(Plan(**settings), folder, dtypes, given.data, stack).carry_out()
    except WorkerFailure as error:
        raise UserError(f"{error}: {error.stderr_tail[-500:]}") from None
    page = build_page(folder / RECORDS, folder)
    results = judged(read(folder / RECORDS))
    print("\n".join(result.sentence for result in results))
    print(f"page: {page}")
    return COMPLETE if all(result.passed for result in results) else FAILED


def _parser() -> Parser:
    parser = Parser(prog="python -m experiments.lockstep", description=(__doc__ or "").partition("\n")[0])
    add, plan = parser.add_argument, Plan()
    add("--preset", default=plan.preset, metavar="NAME", help=f"default: {plan.preset}")
    add("--steps", type=int, default=plan.steps, metavar="N", help=f"of every run (default: {plan.steps})")
    help_ = f"runs of each framework and dtype from perturbed weights (default: {plan.perturbed})"
    add("--perturbed", type=int, default=plan.perturbed, metavar="N", help=help_)
    add("--size", type=int, default=plan.size, metavar="PIXELS", help=f"side of the images (default: {plan.size})")
    add("--batch", type=int, default=plan.batch, metavar="N", help=f"images in a batch (default: {plan.batch})")
    help_ = f"steps of the reference before the lockstep (default: {plan.warm})"
    add("--warm", type=int, default=plan.warm, metavar="N", help=help_)
    add("--seed", type=int, default=plan.seed, metavar="N", help="of weights, data and noise (default: 0)")
    add("--dtypes", default=",".join(DTYPES), metavar="A,B", help=f"default: {','.join(DTYPES)}")
    add("--data", metavar="DIR", help="a data set in COCO format (default: $COCO_ROOT, or a download)")
    add("--out", metavar="DIR", help="default: reports/generated/lockstep")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())
