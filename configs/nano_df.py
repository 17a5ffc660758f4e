"""Nano, part 3 of 3: the causal student by diffusion forcing on pairs of drawn talkers.

    lipforcing train --config configs/nano_df.py --workdir runs/nano

The shipped weights (+3.4 dB over the source, opening 0.76 on held-out talkers) came from four runs of these numbers, or
nearly these (docs/nano.md); one run of this file as it stands has not been measured. About 60 minutes on two cores, and
20 for the talkers. `start=WEIGHTS` goes on from a student that exists.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "diffusion_forcing",
            "preset": "nano",
            "seed": 0,
            "start": "",  # weights to go on from; without them training begins from nothing
            "pairs": 1400,
            "looks": 1,
            "latent_frames": 21,
            "speech_clips": 2800,
            "speech_frames": 129,
            "workers": 1,
            "rooms": 3,
            "steps": 4800,
            "batch": 8,
            "frames": 12,
            "peak_lr": 1.2e-3,
            "warmup": 100,
            "weight_decay": 0.02,
            "clip_norm": 1.0,
            "average_decay": 0.998,
            "keep_weight": 0.2,
            "silent_share": 0.15,
            "save_every": 250,
        }
    )
