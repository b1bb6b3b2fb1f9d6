"""The board of exact laws: how far each preset's output lies from the true posterior of a Gaussian field.

    python -m tests.benchmarks.laws            # prints Markdown; no Monte Carlo, some minutes

The field is stationary, 8x8, of variance 1 with a red spectrum; noise 0.1. A preset with fixed weights is affine in
the noises it draws, so its mean and covariance are read off exactly (see tests.recon.law). Methods that are not (a norm
in the step, weights of draws or particles, Adam, penalties) are left out; `repaint` takes masks only.
"""

from __future__ import annotations

import argparse

import torch

from cli.method_table import FACTS
from tests.recon.law import condition, field_problem, preset_law, relative

TASKS = ("inpaint", "blur", "downsample", "ct")
OPTIONS = {"moment": {"iterations": 100, "tolerance": 1e-8}, "spectral": {"tolerance": 1e-8},
           "spectral_draw": {"tolerance": 1e-8}, "predictor_corrector": {"tolerance": 1e-8}}
AFFINE = [name for name, facts in FACTS.items() if facts.error is not None or name == "repaint"]


def row(method: str, steps: int) -> str:
    """One line: error of the mean in posterior standard deviations and ratio of total variances, for each task."""
    cells = []
    for task in TASKS:
        if method == "repaint" and task != "inpaint":
            cells.append("")
            continue
        problem = field_problem(task)
        m = problem.measurement
        true_mean, true_covariance = condition(problem.mu, problem.C, problem.M, m.y.flatten(), m.sigma**2)
        with torch.no_grad():
            mean, covariance = preset_law(method, problem, steps, **OPTIONS.get(method, {}))
        error = ((mean - true_mean).square() / true_covariance.diagonal()).mean().sqrt()
        cells.append(f"{float(error):.2f} / {float(covariance.trace() / true_covariance.trace()):.2f} "
                     f"({100 * relative(covariance, true_covariance):.0f} %)")
    return f"| {method} | {steps} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="20,100")
    parser.add_argument("--methods", default=",".join(AFFINE))
    arguments = parser.parse_args()
    print("| method | calls | " + " | ".join(TASKS) + " |")
    print("|---|---:|" + "---|" * len(TASKS))
    for method in arguments.methods.split(","):
        for steps in map(int, arguments.steps.split(",")):
            print(row(method, steps), flush=True)


if __name__ == "__main__":
    main()
