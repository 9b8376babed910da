"""What kinds of work a job is: all are queued, claimed, stopped and ended alike."""

from enum import StrEnum


class JobKind(StrEnum):
    TRAINING = "training"  # its end is a model version
    PREDICTION = "prediction"  # of a whole data set (`service.batches`): its end is another one
