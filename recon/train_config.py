"""The settings of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from recon.levels import LEVELS
from recon.objectives import OBJECTIVES, WEIGHTINGS
from recon.parametrisation import PREDICTS


class TrainConfig(BaseModel):
    """All settings of a training run; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sde: Literal["vp", "ve", "subvp"] = "vp"
    widths: tuple[int, ...] = (48, 64, 128, 128)
    blocks: int = Field(1, ge=1)
    attention: tuple[int, ...] = (2, 3)
    unshuffle: int = Field(2, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: int = Field(20_000, ge=1, description="half-life of the weight average, in images")
    steps: int = Field(20_000, ge=1, description="the run ends after this many steps")
    hours: float | None = Field(None, gt=0, description="or after this many hours, if sooner")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in, one after the other")
    precision: Literal["float32", "bfloat16"] = "float32"
    predicts: Literal[tuple(PREDICTS)] = Field("edm", description="what the network's output stands for")
    objective: Literal[tuple(OBJECTIVES)] = Field("denoising", description="the form of score matching")
    weighting: Literal[tuple(WEIGHTINGS)] = Field("edm", description="weight of the noise levels")
    levels: Literal[tuple(LEVELS)] = Field("lognormal", description="distribution of the noise levels")
    level_count: int = Field(10, ge=2, description="how many levels there are with levels = discrete")
    log_sigma_mean: float = Field(-1.0, description="mean of log sigma with levels = lognormal, normalised units")
    log_sigma_std: float = Field(1.5, gt=0)
    flip: bool = Field(True, description="mirror images left to right at random")
    rotate: float = Field(0.0, ge=0, le=180, description="turn images by up to so many degrees at random")
    zoom: float = Field(0.0, ge=0, lt=1, description="scale images by up to this share at random")
    crop: int | None = Field(None, ge=8, description="train on random square windows of this size")
    classes: int = Field(0, ge=0, description="how many kinds of images the labels tell apart; 0 without labels")
    drop_label: float = Field(0.1, ge=0, le=1, description="share of the images whose label is withheld")
    compiled: bool = Field(False, description="compile the network by torch.compile; denoising score matching only")
    checkpointing: bool = Field(False, description="compute activations twice to keep fewer, for large images")
    keep: Literal["best", "last"] = Field("best", description="the average of least validation loss, or the last one")
    save_minutes: float = Field(5.0, gt=0)
    seed: int = 0
    initial: str | None = Field(None, description="prior to start the weights from: a bundled name or a path")
