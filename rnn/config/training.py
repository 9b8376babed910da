"""How weights are found, as every task can choose it."""

from typing import Literal

from pydantic import Field

from rnn.config.base import MAX_SEED, MOST_EPOCHS, Config

OptimizerName = Literal["adamw", "adam", "sgd", "rmsprop"]
ScheduleName = Literal["constant", "cosine", "one_cycle", "slanted_triangular"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
AveragingName = Literal["none", "exponential", "triggered"]


class TrainingConfig(Config):
    """How the weights are found."""

    max_epochs: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="Passes over the training part; null: more of them over less data, and enough "
        "for `max_steps` if that is set.",
    )
    max_steps: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Optimizer steps; the sooner limit ends the job."
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Training time in minutes; the schedule of the rate is fitted to it. Only ends "
        "a job sooner: for a longer one raise `max_epochs` or `max_steps` too.",
    )
    batch_size: int = Field(32, ge=1, le=65_536, description="Sequences in one optimizer step.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak rate of the schedule.")
    optimizer: OptimizerName = Field("adamw", description="Update rule.")
    schedule: ScheduleName = Field(
        "cosine",
        description="Learning rate over the job's steps, after its rise: level; along a cosine, "
        "with `one_cycle` after a rise over 0.3 of the steps; with `slanted_triangular` along a "
        "line, after a rise over 0.1 of them.",
    )
    warmup_fraction: float = Field(
        0.02, ge=0, le=0.5, description="Share of the steps in which the rate rises from zero."
    )
    gradient_clip_norm: float | None = Field(
        1.0, gt=0, le=1e6, description="Largest norm of the gradient of one step; null: no limit."
    )
    gradient_clip_value: float | None = Field(
        None, gt=0, le=1e6, description="Largest size of one gradient value; null: no limit."
    )
    weight_decay: float = Field(
        0.01, ge=0, le=10, description="L2 penalty; decoupled from the gradient under adamw."
    )
    l1_penalty: float = Field(0.0, ge=0, le=10, description="L1 penalty on the weight matrices.")
    activation_penalty: float = Field(
        0.0, ge=0, le=1_000, description="L2 penalty on the stack's outputs, after their dropout."
    )
    temporal_activation_penalty: float = Field(
        0.0,
        ge=0,
        le=1_000,
        description="L2 penalty on the change of the stack's outputs from timestep to timestep.",
    )
    averaging: AveragingName = Field(
        "none",
        description="Weights that are judged and published: the last ones, their exponential "
        "average, or their mean since the held-out loss stopped falling.",
    )
    averaging_decay: float = Field(
        0.999,
        gt=0,
        lt=1,
        description="Of the exponential average, for each step; while it is young it spans the "
        "last third of its steps.",
    )
    layer_rate_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The rate of each layer as a share of the one above it; for fine-tuning.",
    )
    unfreeze_epochs: float = Field(
        0.0,
        ge=0,
        le=1_000,
        description="Epochs after which one more layer from the top begins to learn; 0: all learn "
        "from the start.",
    )
    max_rollbacks: int = Field(
        3,
        ge=0,
        le=100,
        description="How often a loss that is not finite sends the training back to its last good "
        "state with half the rate, before it fails.",
    )
    diagnostics_interval: int | None = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Steps between looks at gradients, gates and weights; fewer looks are taken "
        "where they would cost over 3 % of the time. null: none.",
    )
    samples: bool = Field(
        True,
        description="Whether a few held-out examples are shown as the network answers them after "
        "a validation; fewer where they would cost over 1 % of the time.",
    )
    early_stopping_patience: int | None = Field(
        5,
        ge=1,
        le=10_000,
        description="Validations without a better loss before the job ends; null: never.",
    )
    evaluations_per_epoch: int = Field(
        1, ge=1, le=1_000, description="Validations in one pass over the training part."
    )
    precision: PrecisionName = Field(
        "auto",
        description="Of the matrix products; weights, states and sums are float32. auto: bfloat16 "
        "where the device computes with it.",
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of weights, order and dropout.")
