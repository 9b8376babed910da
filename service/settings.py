"""Every setting with its unit and a sane default; read from the environment only when asked.

`Settings()` reads `REPRISE_*`, then files of the same names in `/run/secrets`, where containers
find their secrets; nothing is read at import. A test or an embedding program builds one with
arguments: `Settings(database_url=..., ...)`.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

SECRET_FILES = Path("/run/secrets")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="REPRISE_", extra="ignore", frozen=True)

    # Servers and files
    database_url: SecretStr = Field(
        description="postgresql+psycopg://user:password@host:port/database, PostgreSQL 18 or later."
    )
    redis_url: SecretStr = Field(description="redis://host:port/0 or unix:///path/to.sock?db=0")
    artifact_dir: Path = Field(description="Data sets, checkpoints and models; one for all hosts.")

    # HTTP
    host: str = Field("127.0.0.1", description="Address that the API listens on; 0.0.0.0 for all.")
    port: int = Field(8000, ge=0, le=65_535, description="Of the API; 0 for one that is free.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Values of the Host header that are answered, comma separated; * for any.",
    )
    max_body_bytes: int = Field(8 * 2**20, ge=1024, description="JSON bodies.")
    max_upload_bytes: int = Field(2 * 2**30, ge=1024, description="Files, as sent and unpacked.")
    max_header_bytes: int = Field(32 * 2**10, ge=1024, description="All headers of a request.")
    requests_per_minute: int = Field(6_000, ge=1, description="For each key.")
    failed_logins_per_minute: int = Field(60, ge=1, description="Wrong keys for each address.")
    key_cache_seconds: float = Field(2.0, ge=0, le=5, description="How late a revocation may be.")
    browser_session_hours: float = Field(
        14 * 24.0, gt=0, description="How long a browser stays signed in to the dashboard."
    )
    idempotency_hours: float = Field(
        24.0, gt=0, description="For how long an Idempotency-Key gets its first answer again."
    )

    # Database
    database_pool_size: int = Field(10, ge=1, description="Connections of each process.")
    database_pool_timeout_seconds: float = Field(
        3.0, gt=0, description="How long a request waits for one of them."
    )
    statement_timeout_seconds: float = Field(
        30.0, gt=0, description="PostgreSQL gives up a statement that takes longer."
    )

    # Data sets
    max_columns: int = Field(10_000, ge=1, description="Of one table.")
    max_cell_bytes: int = Field(1 * 2**20, ge=1024, description="One value of a table, one text.")
    preview_rows: int = Field(
        20, ge=1, le=1_000, description="First rows of a data set that are shown."
    )

    # Jobs
    lease_seconds: float = Field(
        15.0, gt=0, description="A worker not heard of for so long is taken for lost."
    )
    heartbeat_seconds: float = Field(
        5.0, gt=0, description="Between two signs of life of a worker; shorter than the lease."
    )
    reaper_interval_seconds: float = Field(
        5.0, gt=0, description="Between two rounds in which the reaper puts jobs back."
    )
    worker_poll_seconds: float = Field(15.0, gt=0, description="Workers look for work unasked.")
    cancel_poll_seconds: float = Field(
        1.0, gt=0, description="How late a running job may see that it is cancelled or paused."
    )
    drain_seconds: float = Field(20.0, gt=0, description="For a last checkpoint on SIGTERM.")
    checkpoint_interval_seconds: float = Field(
        30.0, gt=0, description="Of training, between two checkpoints."
    )
    max_crashes_without_progress: int = Field(
        3, ge=1, description="In a row; then the job has failed."
    )
    failed_checkpoint_days: float = Field(
        30.0, ge=0, description="For how long a failed job can be retried from its checkpoint."
    )
    max_log_bytes: int = Field(
        16 * 2**20,
        ge=2**16,
        description="Of each attempt's trainer, and of each program that `reprise up` runs; the end"
        " is kept.",
    )
    max_queued_jobs: int = Field(1_000, ge=1, description="For each workspace.")
    max_running_jobs: int | None = Field(
        None, ge=1, description="For each workspace; null: as many as there are slots."
    )
    max_training_minutes: int | None = Field(
        None, ge=1, description="For each workspace within 24 hours; null: no limit."
    )
    max_parameters: int = Field(500_000_000, ge=1, description="Weights of one network.")
    max_schedules: int = Field(100, ge=1, description="For each workspace.")
    max_running_sweeps: int = Field(20, ge=1, description="For each workspace.")
    max_sweep_trials: int = Field(1_000, ge=1, description="Of one sweep.")
    alarm_after_seconds: float = Field(
        15.0, gt=0, description="Jobs that wait longer with nobody to take them are an alarm."
    )
    min_free_disk_bytes: int = Field(
        2**30, ge=0, description="Less on the disk of the artifacts is an alarm."
    )

    # Workers
    worker_slots: int = Field(1, ge=1, description="Jobs that one worker trains at a time.")
    trainer_threads: int | None = Field(None, ge=1, description="null: cores divided by slots.")
    trainer_memory_bytes: int | None = Field(
        None,
        ge=2**29,
        description="Host memory of one trainer, which takes about 400 MB before it begins. Where a"
        " batch needs more, it is taken in parts. null: no limit.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Of this worker.")
    kernels: Literal["auto", "avx512", "avx2", "plain", "off"] = Field(
        "auto",
        description="What computes recurrences: avx512, avx2 or plain, auto for the best of them"
        " that the processor can run, off for torch alone.",
    )

    # Inference
    inference_device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu",
        description="What computes predictions: auto for a GPU where there is one. On a GPU the"
        " last digits of an answer depend on what is asked beside it.",
    )
    inference_threads: int = Field(
        1, ge=1, description="Of each API process, for forecasts and labels."
    )
    max_concurrent_predictions: int = Field(64, ge=1, description="Requests in flight, then 429.")
    model_cache_bytes: int = Field(
        4 * 2**30,
        ge=2**20,
        description="Networks in memory or in that of the GPU, as packed, with their tables; the"
        " least recently used one that is idle makes room. One that takes more by itself is"
        " refused.",
    )
    max_series_points: int = Field(100_000, ge=1, description="In one series of a request.")
    max_series: int = Field(10_000, ge=1, description="In one forecast request.")
    max_request_points: int = Field(2_000_000, ge=1, description="In all series together.")
    max_forecast_values: int = Field(
        2_000_000,
        ge=1,
        description="Series x horizon x (quantiles + sample paths + 1) in one answer.",
    )
    max_sample_paths: int = Field(
        1_000, ge=0, description="Of each series in one forecast request."
    )
    max_texts: int = Field(10_000, ge=1, description="In one sentiment request.")
    max_text_chars: int = Field(100_000, ge=1, description="Of one text or prompt.")
    max_request_chars: int = Field(4_000_000, ge=1, description="In all texts together.")
    max_sentiment_scores: int = Field(
        1_000_000, ge=1, description="Texts x labels in one answer with all scores."
    )
    max_attribution_tokens: int = Field(
        2_048,
        ge=1,
        description="Read of all texts of a sentiment request with attributions, each up to some"
        " hundred times.",
    )
    max_prompt_tokens: int = Field(16_384, ge=1, description="Of one prompt.")
    max_new_tokens: int = Field(8_192, ge=1, description="Of one generated text.")
    max_request_new_tokens: int = Field(32_768, ge=1, description="n x max_new_tokens.")
    max_decode_slots: int = Field(64, ge=1, description="Texts generated at the same time.")
    prefix_cache_bytes: int = Field(
        128 * 2**20, ge=0, description="States kept of texts that others may begin with; 0: none."
    )
    prefill_tokens: int = Field(
        16,
        ge=1,
        description="Of each of the prompts that are being read, between two tokens of the texts"
        " that are being generated: more let a prompt be read sooner, and the texts wait longer.",
    )
    max_result_bytes: int = Field(16 * 2**30, ge=1024, description="Of one batch prediction.")

    # Live sessions
    session_ttl_seconds: int = Field(
        3_600, ge=1, description="Of a session that asks for none; each step begins it anew."
    )
    max_session_ttl_seconds: int = Field(
        7 * 24 * 3_600, ge=1, description="The longest that a session may ask for."
    )
    max_sessions: int = Field(1_000, ge=1, description="For each workspace.")
    max_session_snapshots: int = Field(
        8, ge=1, description="Of one session; the oldest makes room for another one."
    )
    session_idle_seconds: float = Field(
        300.0, gt=0, description="A WebSocket without a message for so long is closed."
    )
    max_session_input_bytes: int = Field(
        2**20, ge=0, description="Inputs kept of a session that can move to another version."
    )
    recent_session_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description="Memory of each API process for sessions as their last steps left them, so "
        "that the next ones need not ask Redis.",
    )
    max_session_answer_bytes: int = Field(
        2**20, ge=1024, description="To one step; it is kept, to be given again."
    )

    # Log
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least that is written."
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is no such file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it warns of no folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then files: the sooner one wins."""
        if not SECRET_FILES.is_dir():
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, SECRET_FILES)


def is_set(name: str) -> bool:
    """Whether the environment or a secret file has a value for the setting `name`."""
    variable = f"REPRISE_{name}"
    return bool(os.environ.get(variable.upper())) or (SECRET_FILES / variable.lower()).is_file()


def describe(error: ValidationError) -> str:
    """One sentence on what is wrong with the environment, naming each variable."""
    faults = (
        f"REPRISE_{str(fault['loc'][0]).upper()}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    )
    return f"The settings are not usable: {'; '.join(faults)}."
