"""`make bench-fairness`: the gateway's scheduler beside others, on a simulated engine in virtual time."""

import sys

from fairness_engine import ACCELERATOR
from fairness_measures import Measures, measure
from fairness_policies import POLICIES, simulate
from fairness_workloads import SECONDS, WORKLOADS, Workload

FIRST_TOKENS_SHOWN = 4
OURS = "VTC, predicted"


def run(policy_name: str, workload: Workload) -> Measures:
    """Return what a policy does with a workload."""
    engine = simulate(policy_name, ACCELERATOR, workload.requests, SECONDS, workload.weights)
    return measure(engine, workload.requests, SECONDS, workload.weights)


def results() -> dict[tuple[str, str], tuple[Workload, Measures]]:
    """Run every policy on every workload."""
    found = {}
    for make in WORKLOADS:
        for policy_name in POLICIES:
            workload = make()
            found[make.__name__, policy_name] = (workload, run(policy_name, workload))
    return found


def goals(found: dict[tuple[str, str], tuple[Workload, Measures]]) -> list[tuple[str, float, bool]]:
    """Return what was promised: the words, the figure, and whether it holds."""
    made = []
    for name in ("overload", "unknown_lengths", "poisson_short_long"):
        workload, ours = found[name, OURS]
        ratio = ours.ratio(*workload.backlogged, workload.weights)
        made.append(
            (
                f"{workload.name}: service {' / '.join(workload.backlogged)}, 1.00 +/- 0.03",
                ratio,
                abs(ratio - 1) <= 0.03,
            )
        )
    workload, ours = found["weighted", OURS]
    worst = max((ours.ratio(each, "A", workload.weights) for each in "BCD"), key=lambda ratio: abs(ratio - 1))
    made.append((f"{workload.name}: by weight beside A, worst, within 3 %", worst, abs(worst - 1) <= 0.03))
    alone = found["interactive_alone", OURS][1].first_token_seconds["chat"]
    beside = found["interactive_beside_flood", OURS][1].first_token_seconds["chat"]
    made.append(("first token beside a flood / alone, at most 2", beside / alone, beside <= 2 * alone))
    for name in ("overload", "weighted", "trace"):
        share = found[name, OURS][1].tokens_per_second / found[name, "FCFS"][1].tokens_per_second
        made.append((f"{found[name, OURS][0].name}: tokens/s beside FCFS, at least 0.99", share, share >= 0.99))
    return made


def main() -> int:
    """Print the table and the goals; return 1 if one is missed."""
    found = results()
    out = sys.stdout.write
    out(f"{ACCELERATOR.name}, {ACCELERATOR.sequences_max} sequences, {SECONDS:.0f} s of virtual time\n\n")
    out(f"{'':24} {'difference in 60 s':>20} {'':>9}\n")
    out(f"{'':24} {'max':>9} {'average':>10} {'tokens/s':>9}  service a second, first token (s)\n")
    shown = ""
    for (name, policy_name), (workload, measures) in found.items():
        if name != shown:
            out(f"{workload.name}\n")
            shown = name
        tenants = sorted(measures.service, key=lambda each: -measures.service[each])[:FIRST_TOKENS_SHOWN]
        each_of = ", ".join(
            f"{each} {measures.service[each] / (SECONDS - 60):.0f} {measures.first_token_seconds[each]:.2f}"
            for each in sorted(tenants)
        )
        out(f"  {policy_name:22} {measures.difference_max:9.0f} {measures.difference_average:10.0f}")
        out(f" {measures.tokens_per_second:9.0f}  {each_of}\n")
    kept = goals(found)
    out("\n")
    for words, figure, holds in kept:
        out(f"{'ok  ' if holds else 'MISS'} {figure:6.3f}  {words}\n")
    return 0 if all(holds for _, _, holds in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
