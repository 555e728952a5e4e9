"""`make bench-fairness`: the gateway's scheduler beside others, in virtual time and on a real engine."""

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path
from statistics import mean

from fairness_engine import ACCELERATOR
from fairness_gateways import GATEWAY_WORKLOADS, GATEWAYS, simulate_gateways
from fairness_measures import Measures, measure
from fairness_policies import OURS, POLICIES, UNBOUNDED_PROMPTS, simulate
from fairness_real import MODEL_ID, Load, beside_prompts, chats, during, profile
from fairness_workloads import (
    OTHER_TRACE_SEEDS,
    SECONDS,
    WORKLOADS,
    Workload,
    interactive_beside_long_prompts,
    trace,
)
from pool_process import running_pool

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends

FIRST_TOKENS_SHOWN = 4


def run(policy_name: str, workload: Workload) -> Measures:
    """Return what a policy does with a workload."""
    engine = simulate(policy_name, ACCELERATOR, workload.requests, SECONDS, workload.weights)
    return measure(engine, workload.requests, SECONDS, workload.weights)


def results() -> dict[tuple[str, str], tuple[Workload, Measures]]:
    """Run every policy on every workload."""
    found = {}
    for make in WORKLOADS:
        more = [UNBOUNDED_PROMPTS] if make is interactive_beside_long_prompts else []
        for policy_name in [*POLICIES, *more]:
            workload = make()
            found[make.__name__, policy_name] = (workload, run(policy_name, workload))
    return found


def goals(found: dict[tuple[str, str], tuple[Workload, Measures]]) -> list[tuple[str, float, bool]]:
    """Return what was promised: the words, the figure, and whether it holds."""
    made = []
    for name in ("overload", "unknown_lengths", "poisson_short_long"):
        workload, ours = found[name, OURS]
        one, other = workload.backlogged
        ratio = ours.ratio(one, other, workload.weights)
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
    beside = found["interactive_beside_long_prompts", OURS][1].first_token_seconds["chat"]
    step = ACCELERATOR.step_seconds + ACCELERATOR.step_tokens * ACCELERATOR.prompt_token_seconds
    words = f"first token beside long prompts, s, at most 2 x {alone:.2f} + a step of {step:.2f}"
    made.append((words, beside, beside <= 2 * alone + step))
    for name in ("overload", "weighted"):
        share = found[name, OURS][1].tokens_per_second / found[name, "FCFS"][1].tokens_per_second
        made.append((f"{found[name, OURS][0].name}: tokens/s beside FCFS, at least 0.99", share, share >= 0.99))
    shares = trace_throughputs(found)
    words = f"{len(shares)} seeded traces, {min(shares):.3f} to {max(shares):.3f}: tokens/s beside FCFS, at least 0.99"
    made.append((words, mean(shares), mean(shares) >= 0.99))
    return made


def trace_throughputs(found: dict[tuple[str, str], tuple[Workload, Measures]]) -> list[float]:
    """Return our tokens/s beside FCFS's on the trace that is in the table, and on others made the same way."""
    pairs = [(found["trace", OURS][1], found["trace", "FCFS"][1])]
    pairs += [(run(OURS, trace(seed)), run("FCFS", trace(seed))) for seed in OTHER_TRACE_SEEDS]
    return [ours.tokens_per_second / fcfs.tokens_per_second for ours, fcfs in pairs]


def on_a_real_engine(seconds: float, directory: Path | None) -> None:
    """Print what two banks get that ask without end, and how long a third one waits for its first token.

    With the catalogue of `directory` it prints the second only.
    """
    model = Catalogue.load(directory or default_directory()).get(MODEL_ID)
    with running_pool(directory) as (_, settings):
        asyncio.run(_under_load(settings, model, 0 if directory else seconds))


async def _under_load(settings: Settings, model: Model, seconds: float) -> None:
    out = sys.stdout.write
    backends = Backends(settings)
    await backends.start()
    if seconds:
        await _shares(backends, model, seconds)
    out(f"first token of a chat on {model.engine.name}, median\n")
    for words, waited in await beside_prompts(backends, model):
        out(f"  {1000 * waited:7.0f} ms  {words}\n")
    await backends.close()


async def _shares(backends: Backends, model: Model, seconds: float) -> None:
    out = sys.stdout.write
    measured = await profile(backends, model)
    out(f"\n{measured.name}: {measured.sequences_max} sequences, a step {1000 * measured.step_seconds:.1f} ms")
    out(f" + {1000 * measured.sequence_seconds:.1f} ms a sequence\n")
    alone = await chats(Load(backends, model, fair=True))
    out(f"first token of a chat alone: {1000 * alone:.0f} ms\n")
    for policy_name, fair in (("FCFS", False), (OURS, True)):
        for sent in ({"A": 16, "B": 128}, {"A": 64, "B": 64}):
            load = Load(backends, model, fair=fair)
            await during(load, sent, lambda: asyncio.sleep(seconds))
            ratio = load.service["A"] / load.service["B"]
            rate = load.tokens / seconds
            out(f"  {policy_name:15} A's answers {sent['A']}, B's {sent['B']} tokens:")
            out(f" service A/B {ratio:.2f}, {rate:.0f} tokens/s\n")
        load = Load(backends, model, fair=fair)
        beside = await during(load, {"flood": 128}, partial(chats, load))
        out(f"  {policy_name:15} first token of the chat beside a flood: {1000 * beside:.0f} ms,")
        out(f" {beside / alone:.1f} x alone\n")


def main() -> None:
    """Print the table, the goals, and the results of the real engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each load of the real engine; 0: leave it out")
    parser.add_argument("--catalogue", type=Path, help="measure long prompts on the engine of this catalogue only")
    arguments = parser.parse_args()
    if arguments.catalogue is None:
        simulated()
        several_gateways()
    if arguments.seconds:
        on_a_real_engine(arguments.seconds, arguments.catalogue)


def simulated() -> None:
    """Print the table and the goals of the simulated engine."""
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
        out(f"  {policy_name:34} {measures.difference_max:9.0f} {measures.difference_average:10.0f}")
        out(f" {measures.tokens_per_second:9.0f}  {each_of}\n")
    out("\n")
    for words, figure, holds in goals(found):
        out(f"{'ok  ' if holds else 'MISS'} {figure:6.3f}  {words}\n")


def several_gateways() -> None:
    """Print what tenants get of one engine behind several gateways, apart and with the sync between them."""
    out = sys.stdout.write
    out(f"\n{GATEWAYS} gateways before that engine\n")
    out(f"{'':10} {'most at once':>13} {'tokens/s':>9}  service by weight beside the average's, first token (s)\n")
    misses = []
    for make in GATEWAY_WORKLOADS:
        out(f"{make().name}\n")
        for together in (False, True):
            workload = make()
            result = simulate_gateways(workload, together=together)
            parts = result.parts(workload)
            each_of = [
                f"{each} {parts[each]:.3f} {seconds:.2f}" if each in parts else f"{each} {seconds:.2f}"
                for each, seconds in result.measures.first_token_seconds.items()
            ]
            out(f"  {'together' if together else 'apart':8} {result.in_flight_max:13}")
            out(f" {result.measures.tokens_per_second:9.0f}  {', '.join(each_of)}\n")
            misses += [each for each, part in parts.items() if together and abs(part - 1) > 0.03]
    out(f"{'MISS' if misses else 'ok  '} together each backlogged tenant gets 1.00 +/- 0.03 {', '.join(misses)}\n")


if __name__ == "__main__":
    main()
