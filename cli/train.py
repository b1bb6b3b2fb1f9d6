"""`recon train`: images to a prior."""

from __future__ import annotations

import sys
from functools import partial

from cli import options as o
from cli import training_flags as f


def train(
    images: f.Images, output: o.Output, sde: f.Sde = None, size: f.Size = None, hours: f.Hours = None,
    steps: f.Steps = None, name: f.Name = None, labels: f.Labels = False, value_range: f.Range = None,
    clip: f.Clip = False, unit: f.Unit = None, rescale: f.Rescale = None, batch_size: o.BatchSize = None,
    seed: f.Seed = None, to_gray: o.ToGray = False, max_pixels: o.MaxPixels = o.MANY, resume: f.Resume = False,
    tensorboard: f.TensorBoard = False, overwrite: o.Overwrite = False, json: o.Json = False, config: f.Settings = None,
) -> None:
    """Train a prior on images: writes prior.safetensors, a log, pictures of its progress, and a state to resume from.

    Examples: recon train photos/ -o prior/ --size 64 --hours 1,
    recon train dicom/ -o ct/ --range -1000:1000 --clip, torchrun --nproc-per-node 2 -m cli train data.h5 -o prior/
    """
    from cli import board, dataset, signals, team, training, values
    from cli import output as out
    from cli.progress import bar
    from cli.run_record import Run, save, show
    from cli.watching import Watch

    flags = {"sde": sde, "hours": hours, "steps": steps, "batch_size": batch_size, "seed": seed}
    asked = {"size": size, "name": name, "range": value_range, "unit": unit, "rescale": rescale}
    asked |= {"clip": clip or None, "tensorboard": tensorboard or None, "labels": labels or None}
    with team.following():
        settings, own = training.settings(config, {**flags, **asked})
        run = Run("train", {"data": images, **own, **settings.model_dump(), "resume": resume, "output": output})
        multiple = partial(training.multiple, settings, config)
        claim = out.claimed(output, overwrite, [images, config], resume=resume)
        with team.output(output, claim) as folder, run.hearing():
            if own.get("tensorboard"):
                board.refuse_missing()
            if own.get("size") is not None:
                training.refuse_size(own["size"], multiple(own["size"]), "--size")
            reading = dataset.Reading(own.get("size"), settings.crop, to_gray, max_pixels, values.stated(own))
            found = dataset.load(images, reading, multiple, config is None, run)
            training.refuse_images(found, settings.crop, multiple(min(found.training.shape[2:])))
            settings, told = training.resolved(settings, config, flags, found, bool(own.get("labels")))
            settings = training.labelled(settings, own, found)
            print("\n".join([*dataset.lines(found), *told]), file=sys.stderr)
            run.begin(**settings.model_dump())
            with signals.noticed() as interrupted, run.clock("training"), bar("training") as advance:
                watch = Watch(folder, found, settings.save_minutes, own.get("tensorboard", False), advance, run)
                path = training.start(found, settings, folder, own.get("name", output.name), resume, watch, interrupted)
                if interrupted():
                    run.note("stopped after a checkpoint; the same command with --resume goes on from there")
            names = [path.name, "log.jsonl", *training.states(folder), *watch.files, "run.json"]
            results = {"data": found.provenance, "fingerprint": found.fingerprint, "skipped_steps": watch.skipped}
            record = run.record(**results, outputs=names)
            if team.leads():
                save(folder, record)
        show(record, json, [path])
