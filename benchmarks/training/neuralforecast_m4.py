"""NeuralForecast's LSTM on series that come as JSON: its answer says how long it took.

Alone, so that it can run under another Python than ours: NeuralForecast wants many packages.

    python benchmarks/training/neuralforecast_m4.py --threads 2 < asked.json

Asked: {"series": [[...], ...], "horizon": 48, "steps": null}; null: as many as it takes by default.
Answered, as the last line: {"version", "fit_seconds", "predict_seconds", "forecasts"}.
"""

import argparse
import json
import logging
import sys
import time
from importlib.metadata import version

import numpy as np
import pandas
import torch
from neuralforecast import NeuralForecast
from neuralforecast.models import LSTM

CONTEXT = 168  # a week of hours


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    asked = json.load(sys.stdin)
    horizon = asked["horizon"]
    frame = pandas.concat(
        pandas.DataFrame({"unique_id": f"{n:05}", "ds": np.arange(len(values)), "y": values})
        for n, values in enumerate(asked["series"])
    )
    chosen = {} if asked["steps"] is None else {"max_steps": asked["steps"]}
    model = LSTM(
        h=horizon,
        input_size=CONTEXT,
        enable_progress_bar=False,
        logger=False,
        accelerator="cpu",
        enable_checkpointing=False,
        **chosen,
    )
    began = time.perf_counter()
    forecaster = NeuralForecast(models=[model], freq=1)
    forecaster.fit(frame)
    fitted = time.perf_counter()
    found = forecaster.predict().sort_values(["unique_id", "ds"])
    predicted = time.perf_counter()
    answer = {
        "version": version("neuralforecast"),
        "fit_seconds": fitted - began,
        "predict_seconds": predicted - fitted,
        "forecasts": found["LSTM"].to_numpy().reshape(-1, horizon).tolist(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
