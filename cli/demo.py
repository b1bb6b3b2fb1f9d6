"""`recon demo`: a real image, degraded and reconstructed, offline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from cli import options as o

IMAGE, NOISE, SEED = "headct-1", "1%", 0
TASKS = {
    "ct": ("CT from 23 views, 1 % noise", "ct", {"angles": "23"}, {"FBP": "fbp", "TV": "tv"}),
    "inpaint": ("60 % of the pixels missing, 1 % noise", "inpaint", {"keep": 0.4}, {"TV": "tv"}),
}


def demo(
    output: o.Output = Path("recon-demo"), prior: o.Prior = "headct-64", samples: o.Samples = 8,
    method: o.Sampler = None, steps: o.Steps = None, device: o.Device = None, overwrite: o.Overwrite = False,
    json: o.Json = False,
) -> None:
    """Degrade a bundled real head CT image in two ways, reconstruct it, and write pictures and a report.

    Example: recon demo -o out/
    """
    import data
    from cli import catalogue, fit, measure, noises, priors, restore, results, spec
    from cli import output as out
    from cli.run_record import Run, show

    if method is not None:
        spec.known("method", method, list(catalogue.METHODS))
    image, path = data.sample_path(IMAGE), priors.find(prior)
    run = Run("demo", {"image": IMAGE, "prior": prior, "output": output})
    with out.folder(output, overwrite, []) as folder, run.hearing():
        plan = restore.plan(method, steps, samples, SEED, None, device, [])
        network = priors.load(path, plan.device)
        header = priors.facts(network.header)
        run.begin(**asdict(plan), trained_on=header.get("trained on"))
        values = data.read_image(image).values[None]
        run.hash_inputs([image, path])
        finished = []
        for name, (title, operator, flags, rivals) in TASKS.items():
            task, stored = measure.simulated(
                values, operator, spec.OperatorFlags(**flags), noises.NoiseFlags(NOISE), SEED, network.unit
            )
            with run.clock(name):
                result = restore.posterior(task, network, plan, {})
                beside = {shown: restore.classical(task, rival, {}).estimate for shown, rival in rivals.items()}
            scale = fit.value_range(network)
            finished.append(results.Finished(task, result, scale, title, name, beside, stored))
        record = results.publish(folder, "A real head CT slice, degraded and reconstructed", finished, header, run)
    again = f"next: recon reconstruct {output / 'ct/measurement.h5'} --prior {prior} --samples 4 -o again/"
    show(record, json, [output / "report.html", output / "overview.png", again])
